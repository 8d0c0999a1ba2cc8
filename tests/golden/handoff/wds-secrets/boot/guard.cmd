@echo off
rem winseed VERSION, for every host of this boot image
rem Runs in Windows PE before Setup looks at the disk: storage drivers, disk guard. Ends with 0.
rem Windows PE has no findstr and no timeout, and ping returns at once without a network: reading
rem and waiting are done by cmd itself, and nothing is piped.
setlocal EnableExtensions DisableDelayedExpansion
set "MEDIUM=%~1"
set "WORK=X:\winseed"
set "LOG=%WORK%\winpe.log"
md "%WORK%\drivers" 2>nul
call :name_serial_port
call :say phase=winpe id=wds
set "PACKAGES=%MEDIUM%"
call :wait_for_disk
call :say disks=%DISKS% waited=%WAITED%
call :guard
> "%WORK%\go.txt" echo wds
call :say phase=winpe done
exit /b 0

:say
echo winseed: %*
>> "%LOG%" echo winseed: %*
2>nul (>COM1 echo winseed: %*)
exit /b 0

:name_serial_port
rem A serial port gets its name from a class installer that does not run here (FT15).
set "UART=HKLM\SYSTEM\CurrentControlSet\Enum\ACPI\PNP0501"
set "PORT="
for /f "tokens=7 delims=\" %%i in ('reg query "%UART%" 2^>nul') do if not defined PORT set "PORT=%%i"
if not defined PORT exit /b 0
reg query "%UART%\%PORT%\Device Parameters" /v PortName >nul 2>&1
if not errorlevel 1 exit /b 0
reg add "%UART%\%PORT%\Device Parameters" /v PortName /t REG_SZ /d COM1 /f >> "%LOG%" 2>&1
pnputil /restart-device "ACPI\PNP0501\%PORT%" >> "%LOG%" 2>&1
call :start_clock
:try_serial_port
2>nul (>COM1 echo winseed: serial port named)&& exit /b 0
call :read_clock
if %WAITED% lss 5 if %ROUNDS% lss 500 goto try_serial_port
exit /b 0

:wait_for_disk
call :start_clock
:wait_again
call :count_disks
call :read_clock
if not "%DISKS%"=="0" exit /b 0
if %WAITED% geq 30 exit /b 0
if %ROUNDS% geq 1000 exit /b 0
ping -n 2 127.0.0.1 >nul 2>&1
goto wait_again

:start_clock
set "ROUNDS=0"
set "WAITED=0"
call :seconds STARTED
exit /b 0

:read_clock
rem Rounds are counted as well: a clock that cannot be read must not wait for ever.
set /a "ROUNDS+=1"
call :seconds NOW
set /a "WAITED=(NOW-STARTED+86400) %% 86400"
exit /b 0

:seconds
set "%1=0"
for /f "tokens=1-3 delims=:.," %%a in ("%TIME: =0%") do set /a "%1=((1%%a-100)*60+(1%%b-100))*60+(1%%c-100)"
exit /b 0

:count_disks
rem The disk class driver lists every fixed disk here, in every language of Windows (FT04).
set "DISKS=0"
for /f "tokens=1,3" %%a in ('reg query "HKLM\SYSTEM\CurrentControlSet\Services\disk\Enum" /v Count 2^>nul') do if /i "%%a"=="Count" set /a "DISKS=%%b"
exit /b 0

:guard
rem diskpart stops at the first error and its exit code does not tell, so the disk table comes
rem last: only if the two commands before it went well, the table marks disk 0 as selected (FT16).
rem A disk that is offline would hide its partitions and be erased all the same.
> "%WORK%\rescan.txt" (
echo rescan
echo select disk 0
echo online disk noerr
)
> "%WORK%\guard.txt" (
echo select disk 0
echo list partition
echo list disk
)
diskpart /s "%WORK%\rescan.txt" > "%WORK%\rescan.out" 2>&1
diskpart /s "%WORK%\guard.txt" > "%WORK%\guard.out" 2>&1
call :count_disks
set "TABLES=0"
set "ROWS=0"
set "SELECTED=0"
for /f "usebackq delims=" %%l in ("%WORK%\guard.out") do call :read_row "%%l"
for %%d in (C D E F G H I J K L M N O P Q R S T U V W Y Z) do call :look_for_windows %%d
if "%DISKS%"=="0" if "%SELECTED%"=="1" set "DISKS=%ROWS%"
if "%DISKS%"=="0" call :stop reason=no-disk
if not "%DISKS%"=="1" call :stop reason=disks expected=1 found=%DISKS%
if %TABLES% geq 2 call :stop reason=disk-has-partitions
if not "%TABLES%"=="1" call :stop reason=diskpart-failed
if not "%SELECTED%"=="1" call :stop reason=disk-not-readable
if not "%ROWS%"=="1" call :stop reason=disks expected=1 found=%ROWS%
call :say guard=passed
exit /b 0

:look_for_windows
if exist "%1:\Windows\NTDS\ntds.dit" call :stop reason=domain-controller drive=%1
if exist "%1:\NTDS\ntds.dit" call :stop reason=domain-controller drive=%1
if exist "%1:\Windows\System32\config\SYSTEM" call :stop reason=installed-system drive=%1
exit /b 0

:read_row
rem diskpart speaks the language of the media. In every language it rules its tables with hyphens,
rem indents their rows by two blanks and marks the selected row by an asterisk.
set "ROW=%~1"
if "%ROW:~0,5%"=="  ---" goto rule
if "%ROW:~0,2%"=="* " set "SELECTED=1"
if "%ROW:~0,2%"=="* " set /a "ROWS+=1"
if "%ROW:~0,2%"=="  " set /a "ROWS+=1"
exit /b 0
:rule
set /a "TABLES+=1"
set "ROWS=0"
set "SELECTED=0"
exit /b 0

:stop
call :say guard=stopped %*
call :say nothing was erased, the VM powers off
2>nul (>COM1 type "%WORK%\guard.out")
wpeutil shutdown
:halt
ping -n 5 127.0.0.1 >nul 2>&1
goto halt
