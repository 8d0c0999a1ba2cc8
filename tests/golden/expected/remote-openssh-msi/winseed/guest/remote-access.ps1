# winseed VERSION, build FINGERPRINT for winsrv
# The ways in that the spec asks for; each opens its own port and no other.
$ErrorActionPreference = 'Stop'
$from = @('Any')

function Open-Port([string] $name, [string] $title, [int] $port, [string] $protocol) {
    Get-NetFirewallRule -Name $name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    New-NetFirewallRule -Name $name -DisplayName $title -Direction Inbound -Action Allow -Profile Any -Protocol $protocol -LocalPort $port -RemoteAddress $from | Out-Null
}

if (-not (Get-Service -Name 'sshd' -ErrorAction SilentlyContinue)) {
    $package = Join-Path (Join-Path $env:ProgramData 'winseed\files') 'openssh-01-openssh.msi'
    foreach ($round in 1..10) {
        if ($package -like '*.cab') {
            & dism.exe /online /add-package "/packagepath:$package" /quiet /norestart
            $code = $LASTEXITCODE
        } else {
            $process = Start-Process -FilePath 'msiexec.exe' -ArgumentList ('/i "{0}" /qn /norestart' -f $package) -PassThru -Wait
            $code = $process.ExitCode
        }
        # 1618: another installation is under way
        if ($code -ne 1618) {
            break
        }
        Start-Sleep -Seconds 30
    }
    if (@(0, 3010) -notcontains $code) {
        Write-Output ('the OpenSSH package ended with {0}' -f $code)
        exit $code
    }
}

Set-Service -Name 'sshd' -StartupType Automatic
Start-Service -Name 'sshd'
# OpenSSH brings a rule of its own for every address; only the networks of the spec may connect
Get-NetFirewallRule -Direction Inbound -ErrorAction SilentlyContinue | Where-Object { $_.Name -like 'OpenSSH*' -or $_.DisplayName -like 'OpenSSH*' } | Disable-NetFirewallRule
Open-Port 'winseed-ssh' 'OpenSSH server' 22 'TCP'
exit 0
