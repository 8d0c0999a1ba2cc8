@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Windows Setup runs this as SYSTEM before the first logon. It must not restart the computer.
setlocal EnableExtensions DisableDelayedExpansion
if not defined ProgramData set "ProgramData=%SystemDrive%\ProgramData"
set "STATE=%ProgramData%\winseed"
set "LOG=%STATE%\logs\setup-complete.log"
md "%STATE%\logs" 2>nul
rem What specialize could not copy is tried once more, from the very same medium.
if not exist "%STATE%\specialize.done" for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do if exist "%%d:\winseed\FINGERPRINT.id" call %%d:\winseed\specialize.cmd %%d:
rem If the power fails during the first boot, the next start goes on.
schtasks /create /f /tn winseed-first-boot /sc onstart /delay 0002:00 /ru SYSTEM /rl highest /tr "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File %STATE%\first-boot.ps1 -AtStart" >> "%LOG%" 2>&1
if not exist "%STATE%\first-boot.ps1" goto missing
powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "%STATE%\first-boot.ps1" >> "%LOG%" 2>&1
exit /b 0
:missing
>> "%LOG%" echo winseed: first-boot.ps1 is missing
2>nul (>COM1 echo winseed: phase=failed id=FINGERPRINT first-boot.ps1 is missing)
exit /b 0
