# winseed VERSION, build FINGERPRINT for winsrv
# Removes every copy of the answer file that Setup keeps, and our own copies that are done with.
$ErrorActionPreference = 'Continue'
$windows = $env:SystemRoot
$copies = @(
    "$windows\Panther\unattend.xml",
    "$windows\Panther\unattend-original.xml",
    "$windows\Panther\autounattend.xml",
    "$windows\Panther\Unattend\unattend.xml",
    "$windows\Panther\Unattend\autounattend.xml",
    "$windows\System32\Sysprep\unattend.xml",
    "$windows\System32\Sysprep\Panther\unattend.xml",
    "$env:SystemDrive\unattend.xml",
    "$env:SystemDrive\autounattend.xml"
)
foreach ($copy in $copies) {
    if (Test-Path -LiteralPath $copy) {
        Remove-Item -Force -LiteralPath $copy
    }
}
$winlogon = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
Remove-ItemProperty -Path $winlogon -Name 'DefaultPassword' -ErrorAction SilentlyContinue
Remove-Item -Recurse -Force -LiteralPath (Join-Path $env:ProgramData 'winseed\drivers') -ErrorAction SilentlyContinue
Remove-Item -Recurse -Force -LiteralPath (Join-Path $env:ProgramData 'winseed\files') -ErrorAction SilentlyContinue
$left = @($copies | Where-Object { Test-Path -LiteralPath $_ })
if ($left.Count -gt 0) {
    Write-Output ('could not remove {0}' -f ($left -join ', '))
    exit 1
}
exit 0
