# winseed VERSION, build FINGERPRINT for files01
# Runs the steps of the first boot in order. Safe to run again: a step that went well is not
# repeated. Ends with the marker done.json, which names every step that failed. Never restarts.
param([switch] $AtStart)
$ErrorActionPreference = 'Stop'
$root = Join-Path $env:ProgramData 'winseed'
$logs = Join-Path $root 'logs'
$marker = Join-Path $root 'done.json'
$id = 'FINGERPRINT'
$steps = @(
    @{ Name = 'drivers'; Kind = 'own'; File = 'drivers.ps1'; Seconds = 600 }
    @{ Name = 'agent'; Kind = 'own'; File = 'agent.ps1'; Seconds = 900 }
    @{ Name = 'balloon'; Kind = 'own'; File = 'balloon.ps1'; Seconds = 300 }
    @{ Name = 'data-disks'; Kind = 'own'; File = 'data-disks.ps1'; Seconds = 600 }
    @{ Name = 'settings'; Kind = 'own'; File = 'settings.ps1'; Seconds = 300 }
    @{ Name = 'scrub'; Kind = 'own'; File = 'scrub.ps1'; Seconds = 300 }
)

function Write-Phase([string] $text) {
    $line = 'winseed: ' + ($text -replace '\s+', ' ')
    try {
        Add-Content -LiteralPath (Join-Path $logs 'first-boot.log') -Value $line -Encoding UTF8
    } catch {
        # somebody reads the log at this moment: the serial port has the line as well
        $null = $_
    }
    $port = $null
    try {
        $port = New-Object System.IO.Ports.SerialPort 'COM1', 115200
        $port.WriteTimeout = 2000
        $port.Open()
        $port.WriteLine($line)
    } catch {
        # a VM without a serial port loses nothing but this line
        $null = $_
    } finally {
        if ($port) {
            $port.Dispose()
        }
    }
}

function Wait-ForSetup {
    # The start-up task may fire while Setup is still in its last passes: accounts are not there
    # yet then, and the answer file is still needed (FT17).
    foreach ($round in 1..360) {
        $setup = Get-ItemProperty -Path 'HKLM:\SYSTEM\Setup' -ErrorAction SilentlyContinue
        if (([int] $setup.SystemSetupInProgress -eq 0) -and ([int] $setup.OOBEInProgress -eq 0)) {
            return $true
        }
        Start-Sleep -Seconds 10
    }
    return $false
}

function Remove-StartTask {
    # cmd swallows the message of a missing task, which would end this script as an error
    & cmd.exe /d /c 'schtasks.exe /delete /f /tn winseed-first-boot >nul 2>&1'
}

function Get-Invocation([hashtable] $step) {
    $powershell = '-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}"'
    $own = Join-Path $root $step.File
    $given = Join-Path (Join-Path $root 'files') $step.File
    if ($step.Kind -eq 'own') {
        return @('powershell.exe', ($powershell -f $own))
    }
    if ($step.Kind -eq 'powershell') {
        return @('powershell.exe', ($powershell -f $given))
    }
    if ($step.Kind -eq 'cmd') {
        # the input is empty, so that a pause or a question ends at once
        return @('cmd.exe', ('/d /s /c ""{0}" < nul"' -f $given))
    }
    if ($given -like '*.cab') {
        return @('dism.exe', ('/online /add-package /packagepath:"{0}" /quiet /norestart' -f $given))
    }
    return @('wusa.exe', ('"{0}" /quiet /norestart' -f $given))
}

function Invoke-Step([hashtable] $step) {
    $command = Get-Invocation $step
    $log = Join-Path $logs $step.Name
    $process = Start-Process -FilePath $command[0] -ArgumentList $command[1] -WorkingDirectory $root -PassThru -WindowStyle Hidden -RedirectStandardOutput "$log.log" -RedirectStandardError "$log.err.log"
    # the exit code is only kept for a process whose handle was read while it ran
    $null = $process.Handle
    if ($process.WaitForExit($step.Seconds * 1000)) {
        return $process.ExitCode
    }
    & cmd.exe /d /c "taskkill.exe /t /f /pid $($process.Id) >nul 2>&1"
    return 'timeout'
}

function Complete-Step([hashtable] $step) {
    # What a step ended with, as text; a step that went well leaves a file and is not repeated.
    $done = Join-Path $logs ($step.Name + '.done')
    try {
        if (Test-Path -LiteralPath $done) {
            return '0'
        }
        $code = [string] (Invoke-Step $step)
        if ($accepted -contains $code) {
            Set-Content -LiteralPath $done -Value $code
        }
        return $code
    } catch {
        return $_.Exception.Message
    }
}

function Write-Cause([hashtable] $step) {
    # Only our own scripts are quoted: what a user's script prints may be secret.
    if ($step.Kind -ne 'own') {
        return
    }
    foreach ($suffix in '.log', '.err.log') {
        $path = Join-Path $logs ($step.Name + $suffix)
        $lines = @(Get-Content -LiteralPath $path -Tail 5 -ErrorAction SilentlyContinue)
        foreach ($line in $lines) {
            Write-Phase ('step={0} says {1}' -f $step.Name, $line)
        }
    }
}

# 3010 and 2359301 ask for a restart, 2359302 says that the update is there already
$accepted = @('0', '3010', '2359301', '2359302')
# before the mutex: SetupComplete.cmd must find it free
if ($AtStart -and (-not (Wait-ForSetup))) {
    exit 0
}
$single = New-Object System.Threading.Mutex $false, 'Global\winseed-first-boot'
$owned = $true
try {
    $owned = $single.WaitOne(0)
} catch {
    # abandoned: whoever held it was killed, and now it is ours
    $owned = $true
}
if (-not $owned) {
    exit 0
}
New-Item -ItemType Directory -Force -Path $logs | Out-Null
if (Test-Path -LiteralPath $marker) {
    Remove-StartTask
    exit 0
}
Write-Phase "phase=first-boot id=$id"
$results = @()
$failed = @()
foreach ($step in $steps) {
    $started = [DateTime]::UtcNow
    $code = Complete-Step $step
    $ok = $accepted -contains $code
    $seconds = [int] ([DateTime]::UtcNow - $started).TotalSeconds
    Write-Phase ('step={0} ok={1} result={2} seconds={3}' -f $step.Name, $ok, $code, $seconds)
    if (-not $ok) {
        $failed += $step.Name
        Write-Cause $step
    }
    $results += New-Object PSObject -Property @{ name = $step.Name; ok = $ok; result = $code; seconds = $seconds }
}
$report = New-Object PSObject -Property @{ version = 1; id = $id; ok = ($failed.Count -eq 0); failed = @($failed); steps = @($results); finished = [DateTime]::UtcNow.ToString('s') + 'Z' }
$draft = "$marker.tmp"
[System.IO.File]::WriteAllText($draft, ($report | ConvertTo-Json -Depth 4))
Move-Item -Force -LiteralPath $draft -Destination $marker
Write-Phase ('phase=done ok={0} failed={1}' -f ($failed.Count -eq 0), ($failed -join ','))
Remove-StartTask
exit 0
