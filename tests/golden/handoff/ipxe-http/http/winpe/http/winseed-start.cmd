@echo off
rem winseed VERSION
rem Windows PE runs this by winpeshl.ini: network, disk, image, answer file. It asks nothing, and
rem needs no share: everything comes over HTTP.
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
set "FAILED=reason=no-answer-file"
if not exist "%HERE%\winseed-answer.xml" goto failed
set "FAILED=reason=http url=%URL%"
set "TRIES=0"
:connect
"%HERE%\curl.exe" --fail --silent --show-error --output "%WORK%\winpe.txt" "%URL%/hosts/%HOST%/winpe.txt" >> "%LOG%" 2>&1 && goto connected
set /a "TRIES+=1"
call :say http=waiting try=%TRIES%
ping -n 4 127.0.0.1 >nul 2>&1
if %TRIES% lss 40 goto connect
goto failed
:connected
call :fetch winpe.txt || goto failed
call "X:\winseed-medium\winseed\winpe.cmd" "X:\winseed-medium"
set "FAILED=reason=guard"
if not exist "%WORK%\go.txt" goto failed
call :say phase=partition
set "FAILED=reason=partition"
diskpart /s "X:\winseed-medium\partitions.txt" >> "%LOG%" 2>&1 || goto failed
if not exist "W:\" goto failed
call :say phase=image
set "FAILED=reason=image"
md "W:\winseed-medium" 2>nul
"%HERE%\curl.exe" --fail --silent --show-error --retry 10 --continue-at - --output "W:\winseed-medium\%IMAGE%" "%URL%/media/%MEDIA%/%IMAGE%" >> "%LOG%" 2>&1 || goto failed
dism /apply-image /imagefile:"W:\winseed-medium\%IMAGE%" /index:%INDEX% /applydir:W:\ >> "%LOG%" 2>&1 || goto failed
del /f /q "W:\winseed-medium\%IMAGE%"
call :say phase=files
set "FAILED=reason=files"
"%HERE%\curl.exe" --fail --silent --show-error --output "%WORK%\medium.txt" "%URL%/hosts/%HOST%/medium.txt" >> "%LOG%" 2>&1 || goto failed
call :fetch medium.txt || goto failed
if not exist "W:\winseed-medium\winseed\%BUILD_ID%.id" goto failed
set "FAILED=reason=drivers"
if exist "W:\winseed-medium\drivers" dism /image:W:\ /add-driver /driver:"W:\winseed-medium\drivers" /recurse >> "%LOG%" 2>&1 || goto failed
set "FAILED=reason=answer-file"
md "W:\Windows\Panther" 2>nul
copy /b /y "%HERE%\winseed-answer.xml" "W:\Windows\Panther\unattend.xml" >> "%LOG%" 2>&1 || goto failed
set "FAILED=reason=boot-files"
"W:\Windows\System32\bcdboot.exe" W:\Windows /s S: /f %FIRMWARE% >> "%LOG%" 2>&1 || goto failed
call :say phase=applied
wpeutil reboot
goto halt

:fetch
rem The list is a configuration of curl: an address and a file in turns.
"%HERE%\curl.exe" --fail --silent --show-error --retry 10 --create-dirs --config "%WORK%\%~1" >> "%LOG%" 2>&1
exit /b %ERRORLEVEL%

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
