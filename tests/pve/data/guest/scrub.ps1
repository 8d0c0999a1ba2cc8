# winseed guest script: scrub
# Removes what the installation leaves of its answers: every copy of the answer file, the logon
# values, the start-up tasks and the copies of scripts and packages. Fails over what would not go.
param($payload, $values)
$windows = $env:SystemRoot
$drive = $env:SystemDrive
$folders = @(
    "$windows\Panther",
    "$windows\System32\Sysprep",
    "$windows\Setup\Scripts",
    "$windows\Temp",
    ($drive + '\$WINDOWS.~BT'),
    ($drive + '\$Windows.~LS')
)
$files = @(
    "$drive\unattend.xml",
    "$drive\autounattend.xml",
    "$windows\System32\config\systemprofile\AppData\Roaming\Microsoft\Windows\PowerShell\PSReadLine\ConsoleHost_history.txt"
)

function Get-Copy {
    foreach ($folder in $folders) {
        Get-ChildItem -LiteralPath $folder -Filter '*unattend*.xml' -Recurse -Force -ErrorAction SilentlyContinue | ForEach-Object { $_.FullName }
    }
    $files | Where-Object { Test-Path -LiteralPath $_ }
}

$state = Join-Path $env:ProgramData 'winseed'
$winlogon = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
$secret = 'HKLM:\SECURITY\Policy\Secrets\DefaultPassword'
$files += @(
    "$windows\ConfigSetRoot",
    "$windows\Setup\Scripts\SetupComplete.cmd",
    "$windows\Setup\Scripts\ErrorHandler.cmd",
    "$state\results\join.blob",
    "$state\drivers",
    "$state\files"
)
$removed = @(Get-Copy)
foreach ($copy in $removed) {
    Remove-Item -Recurse -Force -LiteralPath $copy -ErrorAction SilentlyContinue
}
foreach ($name in 'DefaultPassword', 'AutoAdminLogon', 'AutoLogonCount') {
    Remove-ItemProperty -Path $winlogon -Name $name -ErrorAction SilentlyContinue
}
Remove-ItemProperty -Path 'HKLM:\SYSTEM\Setup' -Name 'UnattendFile' -ErrorAction SilentlyContinue
Remove-Item -Recurse -Force -Path $secret -ErrorAction SilentlyContinue
# cmd swallows the message of a missing task
& cmd.exe /d /c 'schtasks.exe /delete /f /tn winseed-first-boot >nul 2>&1'

$left = @(Get-Copy)
if ((Get-Item -LiteralPath $winlogon).GetValue('DefaultPassword')) {
    $left += 'Winlogon DefaultPassword'
}
if (Test-Path -Path $secret -ErrorAction SilentlyContinue) {
    $left += 'LSA DefaultPassword'
}
if ($left.Count -gt 0) {
    throw ('could not remove {0}' -f ($left -join ', '))
}
$values['removed'] = @($removed | ForEach-Object { [string] $_ })
