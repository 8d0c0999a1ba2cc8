# winseed VERSION, build FINGERPRINT for acc01
# Accounts, console habits, and a look at the update policy that specialize wrote. One failure does
# not keep the rest from being done.
$ErrorActionPreference = 'Stop'
$failed = 0

function Add-ToGroup([string] $account, [string] $sid) {
    # groups are found by SID: their names differ by language
    try {
        $name = (New-Object System.Security.Principal.SecurityIdentifier $sid).Translate([System.Security.Principal.NTAccount]).Value.Split('\')[-1]
        $group = [ADSI] "WinNT://$env:COMPUTERNAME/$name,group"
        $group.Add("WinNT://$env:COMPUTERNAME/$account,user")
    } catch {
        # 1378, ERROR_MEMBER_IN_ALIAS: Setup puts some accounts into Users itself
        if ($_.Exception.GetBaseException().HResult -ne -2147023518) {
            Write-Output ('{0} is not in group {1}: {2}' -f $account, $sid, $_.Exception.GetBaseException().Message)
            $script:failed = 1
        }
    }
}
Add-ToGroup 'o''brien & $x' 'S-1-5-32-544'
Add-ToGroup 'o''brien & $x' 'S-1-5-32-555'
Add-ToGroup 'Jürgen' 'S-1-5-32-545'

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
    @{ Path = '\AU'; Name = 'NoAutoUpdate'; Value = '0' }
    @{ Path = '\AU'; Name = 'AUOptions'; Value = '2' }
)
foreach ($entry in $expected) {
    $found = (Get-ItemProperty -Path ($policy + $entry.Path) -Name $entry.Name -ErrorAction SilentlyContinue).($entry.Name)
    if ([string] $found -cne $entry.Value) {
        Write-Output ('update policy {0} is {1}, expected {2}' -f $entry.Name, $found, $entry.Value)
        $failed = 1
    }
}
exit $failed
