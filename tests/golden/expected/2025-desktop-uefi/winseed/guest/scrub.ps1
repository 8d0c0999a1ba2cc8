# winseed VERSION, build FINGERPRINT for winsrv
# Removes every copy of the answer file that Setup keeps, and our own copies that are done with.
# Setup has read its last pass when this runs (FT18).
$ErrorActionPreference = 'Continue'
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

foreach ($copy in @(Get-Copy)) {
    Remove-Item -Force -LiteralPath $copy
}
Remove-ItemProperty -Path 'HKLM:\SYSTEM\Setup' -Name 'UnattendFile' -ErrorAction SilentlyContinue
$winlogon = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
foreach ($name in 'DefaultPassword', 'AutoAdminLogon', 'AutoLogonCount') {
    Remove-ItemProperty -Path $winlogon -Name $name -ErrorAction SilentlyContinue
}
foreach ($folder in 'drivers', 'files') {
    Remove-Item -Recurse -Force -LiteralPath (Join-Path $env:ProgramData "winseed\$folder") -ErrorAction SilentlyContinue
}
$left = @(Get-Copy)
if ((Get-ItemProperty -Path $winlogon -Name 'DefaultPassword' -ErrorAction SilentlyContinue)) {
    $left += 'Winlogon DefaultPassword'
}
if ($left.Count -gt 0) {
    Write-Output ('could not remove {0}' -f ($left -join ', '))
    exit 1
}
exit 0
