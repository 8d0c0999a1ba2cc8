# winseed VERSION, build FINGERPRINT for winsrv
# Turns Windows Update on again: removes the policies that this installation set, then looks for
# updates. Run it as an administrator. In a domain, group policy has the last word.
$ErrorActionPreference = 'Stop'
$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
Remove-ItemProperty -Path ($policy + '') -Name 'WUServer' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '') -Name 'WUStatusServer' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '') -Name 'TargetGroup' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '') -Name 'TargetGroupEnabled' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'UseWUServer' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'NoAutoUpdate' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'AUOptions' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'ScheduledInstallDay' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'ScheduledInstallTime' -ErrorAction SilentlyContinue
Remove-ItemProperty -Path ($policy + '\AU') -Name 'NoAutoRebootWithLoggedOnUsers' -ErrorAction SilentlyContinue
Restart-Service -Name 'wuauserv' -Force
& UsoClient.exe StartScan
Write-Warning 'The WSUS server is no longer asked: updates come from Microsoft now.'
Write-Output 'Windows Update follows its own settings again.'
