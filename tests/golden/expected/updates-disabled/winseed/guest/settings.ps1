# winseed VERSION, build FINGERPRINT for winsrv
# Accounts, console habits, and a look at the update policy that specialize wrote. One failure does
# not keep the rest from being done.
$ErrorActionPreference = 'Stop'
$failed = 0

# The built-in account ends in RID 500 whatever it is called; it must choose a new password. A
# password that never expires cannot be made to, so that goes first.
try {
    $builtin = Get-WmiObject -Class Win32_UserAccount -Filter 'LocalAccount = TRUE' | Where-Object { $_.SID -like 'S-1-5-21-*-500' } | Select-Object -First 1
    if (-not $builtin) {
        throw 'no account ends in RID 500'
    }
    $path = "WinNT://$env:COMPUTERNAME/$($builtin.Name),user"
    $user = [ADSI] $path
    $user.UserFlags = $user.UserFlags.Value -band (-bnot 0x10000)
    $user.SetInfo()
    $user.PasswordExpired = 1
    $user.SetInfo()
    $user = [ADSI] $path
    if ($user.PasswordExpired.Value -ne 1) {
        throw 'the account kept its password as valid'
    }
} catch {
    Write-Output ('the built-in administrator need not change the password: {0}' -f $_.Exception.GetBaseException().Message)
    $failed = 1
}

# For every user (FT19): SYSTEM would otherwise set it for itself. A missing module must not fail
# the step: older images start sconfig by other means.
$command = Get-Command -Name 'Set-SConfig' -ErrorAction SilentlyContinue
if ($command) {
    $options = @{ AutoLaunch = $true }
    if ($command.Parameters.ContainsKey('AllUsers')) {
        $options.AllUsers = $true
    }
    try {
        Set-SConfig @options
    } catch {
        Write-Output ('Set-SConfig: {0}' -f $_.Exception.Message)
        $failed = 1
    }
}

$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
$expected = @(
    @{ Path = '\AU'; Name = 'NoAutoUpdate'; Value = '1' }
    @{ Path = '\AU'; Name = 'AUOptions'; Value = '2' }
    @{ Path = ''; Name = 'TargetReleaseVersion'; Value = '1' }
    @{ Path = ''; Name = 'TargetReleaseVersionInfo'; Value = '21H2' }
)
foreach ($entry in $expected) {
    $found = (Get-ItemProperty -Path ($policy + $entry.Path) -Name $entry.Name -ErrorAction SilentlyContinue).($entry.Name)
    if ([string] $found -cne $entry.Value) {
        Write-Output ('update policy {0} is {1}, expected {2}' -f $entry.Name, $found, $entry.Value)
        $failed = 1
    }
}
exit $failed
