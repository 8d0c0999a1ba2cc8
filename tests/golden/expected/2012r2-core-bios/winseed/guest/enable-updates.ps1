# winseed VERSION, build FINGERPRINT for winsrv
# Turns Windows Update on again: removes the policies that this installation set, then looks for
# updates. Run it as an administrator. In a domain, group policy has the last word.
$ErrorActionPreference = 'Stop'
$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
Remove-ItemProperty -Path ($policy + '\AU') -Name 'NoAutoUpdate' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'AUOptions' -ErrorAction SilentlyContinue
Restart-Service -Name 'wuauserv' -Force
& wuauclt.exe /detectnow
Write-Output 'Windows Update follows its own settings again.'
