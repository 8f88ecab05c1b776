@echo off
rem Writes the update @{product_id} @{version} into a device, with STM32CubeProgrammer.
rem
rem It may be run again at any time. It only writes the update: it never erases the whole chip,
rem never changes option bytes and never removes a read protection.
rem
rem Ends with 0: written and verified. 1: STM32CubeProgrammer is missing. 4: the kit is incomplete.
rem 10: not written. 11: no device. 12: several devices. 14: read-protected. 15: not verified.
setlocal EnableExtensions DisableDelayedExpansion
title Update @{product_id} @{version}
set "FILE=@{stem}.hex"
set "FIND=%SystemRoot%\System32\find.exe"
set "LOG=%TEMP%\update-%RANDOM%%RANDOM%.log"
set "CLI="

echo Update @{product_id} @{version}
echo.
pushd "%~dp0"
if not exist "%FILE%" goto missing
for %%I in ("%FILE%") do if not "%%~zI"=="@{hex_size}" goto damaged

for %%I in (STM32_Programmer_CLI.exe) do set "CLI=%%~$PATH:I"
for %%D in (
    "%ProgramFiles%\STMicroelectronics\STM32Cube\STM32CubeProgrammer\bin"
    "%ProgramW6432%\STMicroelectronics\STM32Cube\STM32CubeProgrammer\bin"
    "%ProgramFiles(x86)%\STMicroelectronics\STM32Cube\STM32CubeProgrammer\bin"
) do if not defined CLI if exist "%%~D\STM32_Programmer_CLI.exe" set "CLI=%%~D\STM32_Programmer_CLI.exe"
if not defined CLI goto no_tool

echo Found %CLI%
echo Looking for the device ...
"%CLI%" -l usb >"%LOG%" 2>&1
set DEVICES=0
rem A line for each device, below the two lines that find.exe puts above them.
"%FIND%" "Device Index" "%LOG%" >"%LOG%.lines"
for /f "usebackq skip=2 delims=" %%A in ("%LOG%.lines") do set /a DEVICES+=1
if not %DEVICES%==1 type "%LOG%"
if %DEVICES%==0 goto no_device
if not %DEVICES%==1 goto several

echo Found one device. Writing and verifying, this takes about a minute.
echo Nothing moves here meanwhile. Do not unplug the device.
"%CLI%" -c port=usb1 -w "%FILE%" -v >"%LOG%" 2>&1
set CODE=%ERRORLEVEL%
type "%LOG%"
"%FIND%" "Download verified successfully" "%LOG%" >nul
if errorlevel 1 goto not_verified
if not "%CODE%"=="0" goto failed

echo.
echo DONE: the update is in the device. Now:
echo   1. Unplug the device.
@{then_bat}
echo It installs the update by itself and stays silent meanwhile:
echo usually @{usual} seconds, at most @{longest}.
set CODE=0
goto end

:missing
echo STOPPED: %FILE% is missing.
echo Unpack the whole kit first: right-click the ZIP file, "Extract All", and start this in there.
set CODE=4
goto help

:damaged
echo STOPPED: %FILE% is damaged.
echo Fetch the kit again.
set CODE=4
goto help

:no_tool
echo STOPPED: STM32CubeProgrammer was not found.
echo Install it (free, from www.st.com) to the folder it suggests, and start this again.
set CODE=1
goto help

:no_device
call :look_for_protection
if defined PROTECTED goto protected
echo.
echo STOPPED: no device found.
echo @{enter_again} then start this again.
set CODE=11
goto help

:several
echo.
echo STOPPED: %DEVICES% devices found.
echo Leave only one of them plugged in, then start this again.
set CODE=12
goto help

:not_verified
call :look_for_protection
if defined PROTECTED goto protected
"%FIND%" "File download complete" "%LOG%" >nul
if errorlevel 1 goto not_written
echo.
echo STOPPED: the device did not verify.
echo Unplug it and begin again at step 1, with another cable or USB port.
set CODE=15
goto help

:not_written
echo.
echo STOPPED: the update was not written.
echo Unplug the device and begin again at step 1, with another cable or USB port.
set CODE=10
goto help

:failed
echo.
echo STOPPED: STM32CubeProgrammer ended with an error (%CODE%).
echo Unplug the device and begin again at step 1.
set CODE=10
goto help

:protected
echo.
echo STOPPED: the device says that it is read-protected.
echo Never let any program remove the protection ("Read Unprotect", RDP, option bytes):
echo that erases the device for good.
echo Some computers see a protection where there is none: try another USB port, or a USB 2 hub
echo in between. If that changes nothing, ask those who sent you this update.
set CODE=14
goto help

:help
echo HOWTO.html has a table "What to do when ...".

:end
if exist "%LOG%" del "%LOG%"
if exist "%LOG%.lines" del "%LOG%.lines"
popd
echo.
pause
exit /b %CODE%

:look_for_protection
set "PROTECTED="
for %%T in ("ead Out Protection" "ead out protection" "eadout protection" "ead protect" "ead-protect" "RDP") do (
    "%FIND%" %%T "%LOG%" >nul
    if not errorlevel 1 set "PROTECTED=1"
)
exit /b 0
