@echo off
rem winseed VERSION
rem Windows PE runs this by winpeshl.ini: network, share, Setup. It asks nothing.
setlocal EnableExtensions DisableDelayedExpansion
set "HERE=%SystemRoot%\System32"
set "WORK=X:\winseed"
set "LOG=%WORK%\start.log"
md "%WORK%" 2>nul
set "FAILED=reason=no-host-file"
if not exist "%HERE%\winseed-host.cmd" goto failed
call "%HERE%\winseed-host.cmd"
call :say phase=start host=%HOST% id=%BUILD_ID%
wpeinit
for %%i in (%DRIVERS%) do call :load %%i
rem wpeinit was too early for a card whose driver came with drvload.
wpeutil InitializeNetwork >> "%LOG%" 2>&1
wpeutil WaitForNetwork >> "%LOG%" 2>&1
set "FAILED=reason=no-login"
if not exist "%HERE%\winseed-login.cmd" goto failed
call "%HERE%\winseed-login.cmd"
set "FAILED=reason=share server=%SERVER% share=%SHARE%"
set "TRIES=0"
:connect
net use Y: "\\%SERVER%\%SHARE%\hosts\%HOST%" "%SHARE_PASSWORD%" /user:"%SHARE_USER%" /persistent:no >> "%LOG%" 2>&1 && goto connected
set /a "TRIES+=1"
call :say share=waiting try=%TRIES%
ping -n 4 127.0.0.1 >nul 2>&1
if %TRIES% lss 40 goto connect
goto failed
:connected
net use Z: "\\%SERVER%\%SHARE%\media\%MEDIA%" "%SHARE_PASSWORD%" /user:"%SHARE_USER%" /persistent:no >> "%LOG%" 2>&1 || goto failed
set "FAILED=reason=share-incomplete"
if not exist "Y:\autounattend.xml" goto failed
if not exist "Y:\medium\winseed\%BUILD_ID%.id" goto failed
if not exist "Z:\sources\setup.exe" goto failed
call :say phase=setup
rem /noreboot: the files of the first boot are put onto the disk before Setup restarts (FT61).
start /wait "" "Z:\sources\setup.exe" /unattend:Y:\autounattend.xml /noreboot
call :say setup=ended result=%ERRORLEVEL%
set "TARGET="
for %%d in (C D E F G H I J) do if exist "%%d:\Windows\System32\config\SYSTEM" set "TARGET=%%d:"
set "FAILED=reason=setup-installed-nothing"
if not defined TARGET goto failed
set "FAILED=reason=medium-not-copied"
xcopy "Y:\medium" "%TARGET%\winseed-medium" /e /i /h /k /y >> "%LOG%" 2>&1 || goto failed
call :say phase=staged target=%TARGET%
wpeutil reboot
goto halt

:load
drvload "%HERE%\%~1" >> "%LOG%" 2>&1
call :say drvload=%~1 result=%ERRORLEVEL%
exit /b 0

:say
echo winseed: %*
>> "%LOG%" echo winseed: %*
2>nul (>COM1 echo winseed: %*)
exit /b 0

:failed
call :say start=failed %FAILED%
call :say nothing asks here: the machine powers off in ten minutes, %LOG% tells more
2>nul (>COM1 type "%LOG%")
ping -n 600 127.0.0.1 >nul 2>&1
wpeutil shutdown
:halt
ping -n 5 127.0.0.1 >nul 2>&1
goto halt
