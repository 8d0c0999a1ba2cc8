# winseed VERSION, build FINGERPRINT for acc01
# Accounts, console habits, and a look at the update policy that specialize wrote.
$ErrorActionPreference = 'Stop'
$failed = 0

function Add-ToGroup([string] $account, [string] $sid) {
    # groups are found by SID: their names differ by language
    $name = (New-Object System.Security.Principal.SecurityIdentifier $sid).Translate([System.Security.Principal.NTAccount]).Value.Split('\')[-1]
    $group = [ADSI] "WinNT://$env:COMPUTERNAME/$name,group"
    try {
        $group.Add("WinNT://$env:COMPUTERNAME/$account,user")
    } catch {
        if ($_.Exception.InnerException.HResult -ne -2147023518) {
            throw
        }
    }
}
Add-ToGroup 'o''brien & $x' 'S-1-5-32-544'
Add-ToGroup 'o''brien & $x' 'S-1-5-32-555'
Add-ToGroup 'Jürgen' 'S-1-5-32-545'

# A missing module must not fail the step: older images start sconfig by other means.
if (Get-Command -Name 'Set-SConfig' -ErrorAction SilentlyContinue) {
    Set-SConfig -AutoLaunch $true
}

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
