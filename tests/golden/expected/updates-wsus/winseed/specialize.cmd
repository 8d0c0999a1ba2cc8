@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Runs in specialize: copies everything the first boot needs, so that no medium is needed then.
setlocal EnableExtensions DisableDelayedExpansion
set "MEDIUM=%~1"
set "STATE=%ProgramData%\winseed"
set "SCRIPTS=%SystemRoot%\Setup\Scripts"
if exist "%STATE%\specialize.done" exit /b 0
md "%STATE%\files" "%STATE%\logs" "%STATE%\drivers" "%SCRIPTS%" 2>nul
rem Programs run from here as SYSTEM: nobody else may write (SIDs of SYSTEM and Administrators).
icacls "%STATE%" /inheritance:r /grant *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F > "%STATE%\logs\specialize.log" 2>&1
> COM1 2>nul echo winseed: phase=specialize id=FINGERPRINT
call :copy "%MEDIUM%\winseed\setup\*.*" "%SCRIPTS%"
call :copy "%MEDIUM%\winseed\guest\*.*" "%STATE%"
call :copy "%MEDIUM%\winseed\files\*.*" "%STATE%\files"
set "PACKAGES="
for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do if exist "%%d:\vioscsi/2k22/amd64\vioscsi.inf" set "PACKAGES=%%d:"
md "%STATE%\drivers\vioscsi" 2>nul
call :copy "%PACKAGES%\vioscsi/2k22/amd64\*.*" "%STATE%\drivers\vioscsi"
md "%STATE%\drivers\viostor" 2>nul
call :copy "%PACKAGES%\viostor/2k22/amd64\*.*" "%STATE%\drivers\viostor"
md "%STATE%\drivers\NetKVM" 2>nul
call :copy "%PACKAGES%\NetKVM/2k22/amd64\*.*" "%STATE%\drivers\NetKVM"
md "%STATE%\drivers\Balloon" 2>nul
call :copy "%PACKAGES%\Balloon/2k22/amd64\*.*" "%STATE%\drivers\Balloon"
md "%STATE%\drivers\vioserial" 2>nul
call :copy "%PACKAGES%\vioserial/2k22/amd64\*.*" "%STATE%\drivers\vioserial"
call :copy "%PACKAGES%\guest-agent\qemu-ga-x86_64.msi" "%STATE%\files"
rem Repeats the first boot if SetupComplete.cmd did not run; the script ends itself when done (FT07).
schtasks /create /f /tn winseed-first-boot /sc onstart /delay 0002:00 /ru SYSTEM /rl highest /tr "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File %STATE%\first-boot.ps1" >> "%STATE%\logs\specialize.log" 2>&1
> "%STATE%\specialize.done" echo FINGERPRINT
exit /b 0

:copy
copy /y "%~1" "%~2\" >> "%STATE%\logs\specialize.log" 2>&1
if errorlevel 1 > COM1 2>nul echo winseed: copy-failed %~1
goto :eof
