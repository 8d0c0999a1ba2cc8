@echo off
rem winseed VERSION, build FINGERPRINT for winsrv
rem Windows Setup runs this after a fatal error, instead of a dialog that waits for a click. Setup
rem may run it more than once.
setlocal EnableExtensions DisableDelayedExpansion
> COM1 2>nul echo winseed: phase=failed id=FINGERPRINT
for %%f in (X:\Windows\Panther\setuperr.log %SystemRoot%\Panther\setuperr.log %SystemRoot%\Panther\UnattendGC\setuperr.log) do if exist "%%f" type "%%f"> COM1 2>nul
exit /b 0
