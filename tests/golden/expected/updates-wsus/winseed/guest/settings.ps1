# winseed VERSION, build FINGERPRINT for winsrv
# Accounts, console habits, and a look at the update policy that specialize wrote.
$ErrorActionPreference = 'Stop'
$failed = 0

# The built-in account ends in RID 500 whatever it is called; it must choose a new password.
$builtin = Get-WmiObject -Class Win32_UserAccount -Filter 'LocalAccount = TRUE' | Where-Object { $_.SID -like 'S-1-5-21-*-500' } | Select-Object -First 1
$user = [ADSI] "WinNT://$env:COMPUTERNAME/$($builtin.Name),user"
$user.UserFlags = $user.UserFlags.Value -band (-bnot 0x10000)
$user.PasswordExpired = 1
$user.SetInfo()

# A missing module must not fail the step: older images start sconfig by other means.
if (Get-Command -Name 'Set-SConfig' -ErrorAction SilentlyContinue) {
    Set-SConfig -AutoLaunch $true
}

$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
$expected = @(
    @{ Path = ''; Name = 'WUServer'; Value = 'http://wsus.example.com:8530' }
    @{ Path = ''; Name = 'WUStatusServer'; Value = 'https://status.example.com:8531' }
    @{ Path = ''; Name = 'TargetGroup'; Value = 'Ops & ^!Core \ 1\' }
    @{ Path = ''; Name = 'TargetGroupEnabled'; Value = '1' }
    @{ Path = '\AU'; Name = 'UseWUServer'; Value = '1' }
    @{ Path = '\AU'; Name = 'NoAutoUpdate'; Value = '0' }
    @{ Path = '\AU'; Name = 'AUOptions'; Value = '4' }
    @{ Path = '\AU'; Name = 'ScheduledInstallDay'; Value = '1' }
    @{ Path = '\AU'; Name = 'ScheduledInstallTime'; Value = '4' }
    @{ Path = '\AU'; Name = 'NoAutoRebootWithLoggedOnUsers'; Value = '1' }
)
foreach ($entry in $expected) {
    $found = (Get-ItemProperty -Path ($policy + $entry.Path) -Name $entry.Name -ErrorAction SilentlyContinue).($entry.Name)
    if ([string] $found -ne $entry.Value) {
        Write-Output ('update policy {0} is {1}, expected {2}' -f $entry.Name, $found, $entry.Value)
        $failed = 1
    }
}
exit $failed
