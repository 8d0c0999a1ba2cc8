# winseed VERSION, build FINGERPRINT for winsrv
# QEMU guest agent. A left-over VSS provider makes the MSI roll back
# (virtio-win/kvm-guest-drivers-windows#544), so it is taken out first.
$ErrorActionPreference = 'Stop'
$root = Join-Path $env:ProgramData 'winseed'
$package = Join-Path $root 'files\qemu-ga-x86_64.msi'
$program = Join-Path $env:ProgramFiles 'Qemu-ga\qemu-ga.exe'
if (-not (Test-Path -LiteralPath $package)) {
    Write-Output "the agent's MSI is missing: $package"
    exit 2
}
$service = Get-Service -Name 'QEMU-GA' -ErrorAction SilentlyContinue
if ((Test-Path -LiteralPath $program) -and (-not $service)) {
    & $program -s vss-uninstall
}
$log = Join-Path $root 'logs\qemu-ga.msi.log'
$arguments = '/i "{0}" /qn /norestart /l*v "{1}"' -f $package, $log
$process = Start-Process -FilePath 'msiexec.exe' -ArgumentList $arguments -PassThru -Wait
if (@(0, 3010) -notcontains $process.ExitCode) {
    Write-Output ('msiexec ended with {0}' -f $process.ExitCode)
    exit $process.ExitCode
}
$service = Get-Service -Name 'QEMU-GA' -ErrorAction SilentlyContinue
if (-not $service) {
    Write-Output 'the MSI left no service QEMU-GA'
    exit 1
}
Set-Service -Name 'QEMU-GA' -StartupType Automatic
if ($service.Status -ne 'Running') {
    Start-Service -Name 'QEMU-GA'
    $service.WaitForStatus('Running', [TimeSpan]::FromSeconds(60))
}
exit $process.ExitCode
