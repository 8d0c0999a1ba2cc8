@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Runs in Windows PE before Setup looks at the disk: storage drivers, disk guard. Ends with 0.
setlocal EnableExtensions DisableDelayedExpansion
set "MEDIUM=%~1"
set "WORK=X:\winseed"
set "LOG=%WORK%\winpe.log"
md "%WORK%\drivers" 2>nul
call :say phase=winpe id=FINGERPRINT
set "PACKAGES="
for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do if exist "%%d:\vioscsi/2k22/amd64\vioscsi.inf" set "PACKAGES=%%d:"
if not defined PACKAGES call :say virtio_cd=missing expected=virtio-win-0.1.271
drvload "%PACKAGES%\vioscsi/2k22/amd64\vioscsi.inf" >> "%LOG%" 2>&1
call :say drvload=vioscsi result=%ERRORLEVEL%
drvload "%PACKAGES%\viostor/2k22/amd64\viostor.inf" >> "%LOG%" 2>&1
call :say drvload=viostor result=%ERRORLEVEL%
call :wait_for_disk
call :say disks=%DISKS% waited=%WAITED%
md "%WORK%\drivers\vioscsi" 2>nul
copy /y "%PACKAGES%\vioscsi/2k22/amd64\*.*" "%WORK%\drivers\vioscsi\" >> "%LOG%" 2>&1
md "%WORK%\drivers\viostor" 2>nul
copy /y "%PACKAGES%\viostor/2k22/amd64\*.*" "%WORK%\drivers\viostor\" >> "%LOG%" 2>&1
md "%WORK%\drivers\NetKVM" 2>nul
copy /y "%PACKAGES%\NetKVM/2k22/amd64\*.*" "%WORK%\drivers\NetKVM\" >> "%LOG%" 2>&1
md "%WORK%\drivers\Balloon" 2>nul
copy /y "%PACKAGES%\Balloon/2k22/amd64\*.*" "%WORK%\drivers\Balloon\" >> "%LOG%" 2>&1
md "%WORK%\drivers\vioserial" 2>nul
copy /y "%PACKAGES%\vioserial/2k22/amd64\*.*" "%WORK%\drivers\vioserial\" >> "%LOG%" 2>&1
call :guard
> "%WORK%\go.txt" echo FINGERPRINT
call :say phase=winpe done
exit /b 0

:say
echo winseed: %*
>> "%LOG%" echo winseed: %*
> COM1 2>nul echo winseed: %*
goto :eof

:wait_for_disk
rem The clock is read because ping may not wait in Windows PE without a network.
call :seconds STARTED
:wait_again
call :count_disks
call :seconds NOW
set /a "WAITED=(NOW-STARTED+86400) %% 86400"
if not "%DISKS%"=="0" goto :eof
if %WAITED% geq 30 goto :eof
ping -n 2 127.0.0.1 >nul 2>&1
goto wait_again

:seconds
for /f "tokens=1-3 delims=:.," %%a in ("%TIME: =0%") do set /a "%1=((1%%a-100)*60+(1%%b-100))*60+(1%%c-100)"
goto :eof

:count_disks
rem The disk class driver lists every fixed disk here, in every language of Windows (FT04).
set "DISKS=0"
for /f "tokens=1,3" %%a in ('reg query "HKLM\SYSTEM\CurrentControlSet\Services\disk\Enum" /v Count 2^>nul') do if /i "%%a"=="Count" set /a "DISKS=%%b"
goto :eof

:guard
if not "%DISKS%"=="1" call :stop reason=disks expected=1 found=%DISKS%
for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do call :look_for_windows %%d
> "%WORK%\selected.txt" (echo select disk 0& echo list disk)
> "%WORK%\empty.txt" (echo select disk 0& echo list partition)
diskpart /s "%WORK%\selected.txt" > "%WORK%\disks.out" 2>&1
diskpart /s "%WORK%\empty.txt" > "%WORK%\partitions.out" 2>&1
rem diskpart speaks the language of the media; it marks the selected disk by an asterisk and rules
rem its tables with hyphens in all of them.
findstr /b /c:"* " "%WORK%\disks.out" >nul
if errorlevel 1 call :stop reason=disk-not-readable
findstr /c:"--------" "%WORK%\partitions.out" >nul
if not errorlevel 1 call :stop reason=disk-has-partitions
findstr /i /c:"diskpart" "%WORK%\partitions.out" >nul
if errorlevel 1 call :stop reason=diskpart-failed
call :say guard=passed
goto :eof

:look_for_windows
if exist "%1:\Windows\NTDS\ntds.dit" call :stop reason=domain-controller drive=%1
if exist "%1:\NTDS\ntds.dit" call :stop reason=domain-controller drive=%1
if exist "%1:\Windows\System32\config\SYSTEM" call :stop reason=installed-system drive=%1
goto :eof

:stop
call :say guard=stopped %*
call :say the disk is not empty or not alone: nothing was erased, the VM powers off
wpeutil shutdown
:halt
ping -n 5 127.0.0.1 >nul 2>&1
goto halt
