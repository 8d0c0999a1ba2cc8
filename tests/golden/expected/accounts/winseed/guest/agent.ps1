# winseed VERSION, build FINGERPRINT for acc01
# QEMU guest agent. A left-over VSS provider makes the MSI roll back
# (virtio-win/kvm-guest-drivers-windows#544), so it is taken out first.
$ErrorActionPreference = 'Stop'
$root = Join-Path $env:ProgramData 'winseed'
$package = Join-Path $root 'files\qemu-ga-x86_64.msi'
$program = Join-Path $env:ProgramFiles 'Qemu-ga\qemu-ga.exe'
$code = 0
if (-not (Get-Service -Name 'QEMU-GA' -ErrorAction SilentlyContinue)) {
    if (-not (Test-Path -LiteralPath $package)) {
        Write-Output "the agent's MSI is missing: $package"
        exit 2
    }
    if (Test-Path -LiteralPath $program) {
        & $program -s vss-uninstall
    }
    $log = Join-Path $root 'logs\qemu-ga.msi.log'
    $arguments = '/i "{0}" /qn /norestart /l*v "{1}"' -f $package, $log
    foreach ($round in 1..10) {
        $process = Start-Process -FilePath 'msiexec.exe' -ArgumentList $arguments -PassThru -Wait
        $code = $process.ExitCode
        # 1618: another installation is under way
        if ($code -ne 1618) {
            break
        }
        Start-Sleep -Seconds 30
    }
    if (@(0, 3010) -notcontains $code) {
        Write-Output ('msiexec ended with {0}' -f $code)
        exit $code
    }
}
if (-not (Get-Service -Name 'QEMU-GA' -ErrorAction SilentlyContinue)) {
    Write-Output 'the MSI left no service QEMU-GA'
    exit 1
}
Set-Service -Name 'QEMU-GA' -StartupType Automatic
Start-Service -Name 'QEMU-GA'
(Get-Service -Name 'QEMU-GA').WaitForStatus('Running', [TimeSpan]::FromSeconds(60))
exit $code
