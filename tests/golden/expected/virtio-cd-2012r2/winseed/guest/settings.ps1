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

$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
$expected = @(
    @{ Path = '\AU'; Name = 'NoAutoUpdate'; Value = '0' }
    @{ Path = '\AU'; Name = 'AUOptions'; Value = '2' }
)
foreach ($entry in $expected) {
    $found = (Get-ItemProperty -Path ($policy + $entry.Path) -Name $entry.Name -ErrorAction SilentlyContinue).($entry.Name)
    if ([string] $found -ne $entry.Value) {
        Write-Output ('update policy {0} is {1}, expected {2}' -f $entry.Name, $found, $entry.Value)
        $failed = 1
    }
}
exit $failed
