@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Runs in specialize: copies everything the first boot needs, so that no medium is needed then.
rem SetupComplete.cmd runs it again if something could not be copied.
setlocal EnableExtensions DisableDelayedExpansion
set "MEDIUM=%~1"
if not defined ProgramData set "ProgramData=%SystemDrive%\ProgramData"
set "STATE=%ProgramData%\winseed"
set "SCRIPTS=%SystemRoot%\Setup\Scripts"
set "LOG=%STATE%\logs\specialize.log"
set "FAILED="
if exist "%STATE%\specialize.done" exit /b 0
md "%STATE%" 2>nul
rem Programs run from here as SYSTEM: nobody else may write (SIDs of SYSTEM and Administrators).
icacls "%STATE%" /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F >nul 2>&1
if errorlevel 1 set "FAILED=acl"
md "%STATE%\logs" 2>nul
md "%STATE%\files" 2>nul
md "%STATE%\drivers" 2>nul
md "%SCRIPTS%" 2>nul
call :say phase=specialize id=FINGERPRINT
call :copy "%MEDIUM%\winseed\setup\*.*" "%SCRIPTS%"
call :copy "%MEDIUM%\winseed\guest\*.*" "%STATE%"
set "PACKAGES="
for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do if exist "%%d:\vioscsi\2k8R2\amd64\vioscsi.inf" set "PACKAGES=%%d:"
if not defined PACKAGES call :say virtio_cd=missing expected=virtio-win-0.1.271
md "%STATE%\drivers\vioscsi" 2>nul
call :copy "%PACKAGES%\vioscsi\2k8R2\amd64\*.*" "%STATE%\drivers\vioscsi"
md "%STATE%\drivers\viostor" 2>nul
call :copy "%PACKAGES%\viostor\2k8R2\amd64\*.*" "%STATE%\drivers\viostor"
md "%STATE%\drivers\NetKVM" 2>nul
call :copy "%PACKAGES%\NetKVM\2k8R2\amd64\*.*" "%STATE%\drivers\NetKVM"
md "%STATE%\drivers\Balloon" 2>nul
call :copy "%PACKAGES%\Balloon\2k8R2\amd64\*.*" "%STATE%\drivers\Balloon"
md "%STATE%\drivers\vioserial" 2>nul
call :copy "%PACKAGES%\vioserial\2k8R2\amd64\*.*" "%STATE%\drivers\vioserial"
call :copy "%PACKAGES%\guest-agent\qemu-ga-x86_64.msi" "%STATE%\files"
rem Repeats the first boot if SetupComplete.cmd did not run; the script ends itself when done (FT07).
schtasks /create /f /tn winseed-first-boot /sc onstart /delay 0002:00 /ru SYSTEM /rl highest /tr "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File %STATE%\first-boot.ps1 -AtStart" >> "%LOG%" 2>&1
if defined FAILED goto incomplete
> "%STATE%\specialize.done" echo FINGERPRINT
call :say phase=specialize done
exit /b 0
:incomplete
call :say phase=specialize incomplete=%FAILED%
exit /b 0

:say
>> "%LOG%" echo winseed: %*
2>nul (>COM1 echo winseed: %*)
exit /b 0

:copy
set "TRIES=0"
:copy_again
copy /b /y "%~1" "%~2\" >> "%LOG%" 2>&1
if not errorlevel 1 goto copied
set /a "TRIES+=1"
ping -n 3 127.0.0.1 >nul 2>&1
if %TRIES% lss 3 goto copy_again
set "FAILED=copy"
call :say copy=failed from=%~1
exit /b 0
:copied
rem Files of a CD arrive read-only.
attrib -r "%~2\*.*" >> "%LOG%" 2>&1
exit /b 0
