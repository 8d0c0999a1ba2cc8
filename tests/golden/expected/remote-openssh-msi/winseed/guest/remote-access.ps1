# winseed VERSION, build FINGERPRINT for winsrv
# The ways in that the spec asks for; each opens its own port and no other.
$ErrorActionPreference = 'Stop'
$from = @('Any')

function Open-Port([string] $name, [string] $title, [int] $port, [string] $protocol) {
    Get-NetFirewallRule -Name $name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    New-NetFirewallRule -Name $name -DisplayName $title -Direction Inbound -Action Allow -Profile Any -Protocol $protocol -LocalPort $port -RemoteAddress $from | Out-Null
}

$package = Join-Path (Join-Path $env:ProgramData 'winseed\files') 'openssh-01-openssh.msi'
if ($package -like '*.cab') {
    & dism.exe /online /add-package "/packagepath:$package" /quiet /norestart
    $code = $LASTEXITCODE
} else {
    $process = Start-Process -FilePath 'msiexec.exe' -ArgumentList ('/i "{0}" /qn /norestart' -f $package) -PassThru -Wait
    $code = $process.ExitCode
}
if (@(0, 3010) -notcontains $code) {
    Write-Output ('the OpenSSH package ended with {0}' -f $code)
    exit $code
}

Set-Service -Name 'sshd' -StartupType Automatic
Start-Service -Name 'sshd'
Open-Port 'winseed-ssh' 'OpenSSH server' 22 'TCP'
exit 0
