# winseed VERSION, build FINGERPRINT for winsrv
# The ways in that the spec asks for; each opens its own port and no other.
$ErrorActionPreference = 'Stop'
$from = @('192.0.2.0/24', '2001:db8::/32', 'LocalSubnet')

function Open-Port([string] $name, [string] $title, [int] $port, [string] $protocol) {
    Get-NetFirewallRule -Name $name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    New-NetFirewallRule -Name $name -DisplayName $title -Direction Inbound -Action Allow -Profile Any -Protocol $protocol -LocalPort $port -RemoteAddress $from | Out-Null
}

Set-Service -Name 'WinRM' -StartupType Automatic
Start-Service -Name 'WinRM'
# Server 2012 R2 knows these two parameters only; a second run takes the certificate of the first
$label = 'winseed WinRM'
$certificate = Get-ChildItem -Path 'Cert:\LocalMachine\My' | Where-Object { $_.FriendlyName -eq $label } | Select-Object -First 1
if (-not $certificate) {
    $certificate = New-SelfSignedCertificate -DnsName $env:COMPUTERNAME -CertStoreLocation 'Cert:\LocalMachine\My'
    $certificate.FriendlyName = $label
}
Get-ChildItem -Path 'WSMan:\localhost\Listener' | Where-Object { $_.Keys -contains 'Transport=HTTPS' } | Remove-Item -Recurse -Force
New-Item -Path 'WSMan:\localhost\Listener' -Transport HTTPS -Address '*' -CertificateThumbPrint $certificate.Thumbprint -Force | Out-Null
Set-Item -Path 'WSMan:\localhost\Service\Auth\Basic' -Value $false -Force
Open-Port 'winseed-winrm' 'Windows Remote Management (HTTPS)' 5986 'TCP'

$terminal = 'HKLM:\SYSTEM\CurrentControlSet\Control\Terminal Server'
Set-ItemProperty -Path $terminal -Name 'fDenyTSConnections' -Value 0 -Type DWord
Set-ItemProperty -Path "$terminal\WinStations\RDP-Tcp" -Name 'UserAuthentication' -Value 1 -Type DWord
Open-Port 'winseed-rdp-tcp' 'Remote Desktop (TCP)' 3389 'TCP'
Open-Port 'winseed-rdp-udp' 'Remote Desktop (UDP)' 3389 'UDP'

Set-Service -Name 'sshd' -StartupType Automatic
Start-Service -Name 'sshd'
# OpenSSH brings a rule of its own for every address; only the networks of the spec may connect
Get-NetFirewallRule -Direction Inbound -ErrorAction SilentlyContinue | Where-Object { $_.Name -like 'OpenSSH*' -or $_.DisplayName -like 'OpenSSH*' } | Disable-NetFirewallRule
Open-Port 'winseed-ssh' 'OpenSSH server' 22 'TCP'
exit 0
