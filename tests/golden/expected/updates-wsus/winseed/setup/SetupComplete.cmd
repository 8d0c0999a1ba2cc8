@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Windows Setup runs this as SYSTEM before the first logon. It must not restart the computer.
powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "%ProgramData%\winseed\first-boot.ps1" > "%ProgramData%\winseed\logs\setup-complete.log" 2>&1
exit /b 0
