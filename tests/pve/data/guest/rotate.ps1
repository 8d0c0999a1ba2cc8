# winseed guest script: rotate
# A new password for the built-in administrator, who is found by RID 500 whatever the name.
param($payload, $values)
function Assert-NoController {
    # the accounts of a domain controller are those of its domain
    $role = [int] (Get-WmiObject -Class Win32_ComputerSystem).DomainRole
    if ($role -ge 4) {
        throw 'this is a domain controller: it has no local accounts, nothing was changed'
    }
}

function Find-Account([ScriptBlock] $filter) {
    return Get-WmiObject -Class Win32_UserAccount -Filter 'LocalAccount = TRUE' | Where-Object $filter | Select-Object -First 1
}

# Under SYSTEM, against the accounts of this computer (FT28).
function Test-Password([string] $name, [string] $password) {
    Add-Type -AssemblyName 'System.DirectoryServices.AccountManagement'
    $context = New-Object System.DirectoryServices.AccountManagement.PrincipalContext -ArgumentList ([System.DirectoryServices.AccountManagement.ContextType]::Machine)
    try {
        return $context.ValidateCredentials($name, $password)
    } finally {
        $context.Dispose()
    }
}
Assert-NoController
$builtin = Find-Account { $_.SID -like 'S-1-5-21-*-500' }
if (-not $builtin) {
    throw 'no account ends in RID 500'
}
$user = [ADSI] "WinNT://$env:COMPUTERNAME/$($builtin.Name),user"
$user.SetPassword([string] $payload['password'])
$user.PasswordExpired = 0
$user.SetInfo()
if (-not (Test-Password $builtin.Name ([string] $payload['password']))) {
    throw 'Windows does not accept the password that was just set'
}
$values['account'] = [string] $builtin.Name
$values['sid'] = [string] $builtin.SID
