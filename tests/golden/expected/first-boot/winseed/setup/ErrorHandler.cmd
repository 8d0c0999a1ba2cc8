@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Windows Setup runs this after a fatal error, instead of a dialog that waits for a click. Setup
rem may run it more than once: it only tells, and keeps nothing.
setlocal EnableExtensions DisableDelayedExpansion
2>nul (>COM1 echo winseed: phase=failed id=FINGERPRINT)
call :tail "%SystemRoot%\Panther\setuperr.log"
call :tail "%SystemRoot%\Panther\UnattendGC\setuperr.log"
call :tail "%SystemDrive%\$WINDOWS.~BT\Sources\Panther\setuperr.log"
exit /b 0

:tail
rem The last lines over the serial port: the whole log may be long.
if not exist "%~1" exit /b 0
set "LINES=0"
for /f "usebackq delims=" %%l in ("%~1") do set /a "LINES+=1"
set /a "SKIP=LINES-40"
set "OPTIONS=usebackq delims="
if %SKIP% gtr 0 set "OPTIONS=usebackq skip=%SKIP% delims="
2>nul (>COM1 echo winseed: log=%~1)
2>nul (>COM1 (for /f "%OPTIONS%" %%l in ("%~1") do echo winseed: %%l))
exit /b 0
