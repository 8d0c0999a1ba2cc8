# winseed guest script: accounts
# Local accounts with their groups, made or brought to what is wanted. Groups are found by SID:
# their names differ by language.
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
function Add-Member([string] $name, [string] $sid) {
    $title = (New-Object System.Security.Principal.SecurityIdentifier -ArgumentList $sid).Translate([System.Security.Principal.NTAccount]).Value.Split('\')[-1]
    $group = [ADSI] "WinNT://$env:COMPUTERNAME/$title,group"
    try {
        $group.Add("WinNT://$env:COMPUTERNAME/$name,user")
    } catch {
        # 1378, ERROR_MEMBER_IN_ALIAS: the account is in the group
        if ($_.Exception.GetBaseException().HResult -ne -2147023518) {
            throw
        }
    }
}

Assert-NoController
$values['accounts'] = @(foreach ($account in @($payload['accounts'])) {
    $name = [string] $account['name']
    $found = Find-Account { $_.Name -eq $name }
    if ($found) {
        $user = [ADSI] "WinNT://$env:COMPUTERNAME/$name,user"
    } else {
        $user = ([ADSI] "WinNT://$env:COMPUTERNAME").Create('User', $name)
    }
    $user.SetPassword([string] $account['password'])
    $user.SetInfo()
    foreach ($property in 'FullName', 'Description') {
        if ($account[$property]) {
            $user.Put($property, [string] $account[$property])
        }
    }
    $user.SetInfo()
    foreach ($sid in @($account['groups'])) {
        Add-Member $name ([string] $sid)
    }
    if (-not (Test-Password $name ([string] $account['password']))) {
        throw ('{0}: Windows does not accept the password that was just set' -f $name)
    }
    @{ name = $name; created = (-not $found) }
})
