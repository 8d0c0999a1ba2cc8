# winseed VERSION, build FINGERPRINT for winsrv
# Runs the steps of the first boot in order. Safe to run again: a step that went well is not
# repeated. Ends with the marker done.json, which names every step that failed. Never restarts.
$ErrorActionPreference = 'Stop'
$root = Join-Path $env:ProgramData 'winseed'
$logs = Join-Path $root 'logs'
$marker = Join-Path $root 'done.json'
$id = 'FINGERPRINT'
$steps = @(
    @{ Name = 'drivers'; Kind = 'own'; File = 'drivers.ps1'; Seconds = 600 }
    @{ Name = 'agent'; Kind = 'own'; File = 'agent.ps1'; Seconds = 900 }
    @{ Name = 'balloon'; Kind = 'own'; File = 'balloon.ps1'; Seconds = 300 }
    @{ Name = 'settings'; Kind = 'own'; File = 'settings.ps1'; Seconds = 300 }
    @{ Name = 'update-01'; Kind = 'package'; File = 'update-01-kb5000001.msu'; Seconds = 7200 }
    @{ Name = 'update-02'; Kind = 'package'; File = 'update-02-fix.cab'; Seconds = 7200 }
    @{ Name = 'scrub'; Kind = 'own'; File = 'scrub.ps1'; Seconds = 300 }
)

function Write-Phase([string] $text) {
    $line = "winseed: $text"
    Add-Content -LiteralPath (Join-Path $logs 'first-boot.log') -Value $line -Encoding UTF8
    try {
        $port = New-Object System.IO.Ports.SerialPort 'COM1', 115200
        $port.WriteTimeout = 2000
        $port.Open()
        $port.WriteLine($line)
        $port.Close()
    } catch {
        # a VM without a serial port loses nothing but this line
    }
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
        return @('cmd.exe', ('/d /c call "{0}"' -f $given))
    }
    if ($given -like '*.cab') {
        return @('dism.exe', ('/online /add-package /packagepath:"{0}" /quiet /norestart' -f $given))
    }
    return @('wusa.exe', ('"{0}" /quiet /norestart' -f $given))
}

function Invoke-Step([hashtable] $step) {
    $command = Get-Invocation $step
    $log = Join-Path $logs $step.Name
    $process = Start-Process -FilePath $command[0] -ArgumentList $command[1] -PassThru -WindowStyle Hidden -RedirectStandardOutput "$log.log" -RedirectStandardError "$log.err.log"
    # the exit code is only kept for a process whose handle was read while it ran
    $null = $process.Handle
    if ($process.WaitForExit($step.Seconds * 1000)) {
        $process.WaitForExit()
        return $process.ExitCode
    }
    & taskkill.exe /t /f /pid $process.Id | Out-Null
    return 'timeout'
}

$single = New-Object System.Threading.Mutex $false, 'Global\winseed-first-boot'
if (-not $single.WaitOne(0)) {
    exit 0
}
try {
    New-Item -ItemType Directory -Force -Path $logs | Out-Null
    if (Test-Path -LiteralPath $marker) {
        & schtasks.exe /delete /f /tn winseed-first-boot | Out-Null
        exit 0
    }
    Write-Phase "phase=first-boot id=$id"
    $results = @()
    $failed = @()
    foreach ($step in $steps) {
        $done = Join-Path $logs ($step.Name + '.done')
        $started = [DateTime]::UtcNow
        if (Test-Path -LiteralPath $done) {
            $code = 0
        } else {
            try {
                $code = Invoke-Step $step
            } catch {
                $code = $_.Exception.Message
            }
        }
        # 3010 asks for a restart, 2359302 says that the update is there already
        $ok = @('0', '3010', '2359302') -contains [string] $code
        if ($ok) {
            Set-Content -LiteralPath $done -Value ([string] $code)
        } else {
            $failed += $step.Name
        }
        $seconds = [int] ([DateTime]::UtcNow - $started).TotalSeconds
        Write-Phase ('step={0} ok={1} result={2} seconds={3}' -f $step.Name, $ok, $code, $seconds)
        $results += New-Object PSObject -Property @{ name = $step.Name; ok = $ok; result = [string] $code; seconds = $seconds }
    }
    $report = New-Object PSObject -Property @{ version = 1; id = $id; ok = ($failed.Count -eq 0); failed = @($failed); steps = @($results); finished = [DateTime]::UtcNow.ToString('s') + 'Z' }
    $draft = "$marker.tmp"
    [System.IO.File]::WriteAllText($draft, ($report | ConvertTo-Json -Depth 4))
    Move-Item -Force -LiteralPath $draft -Destination $marker
    & schtasks.exe /delete /f /tn winseed-first-boot 2>&1 | Out-Null
    Write-Phase ('phase=done ok={0} failed={1}' -f ($failed.Count -eq 0), ($failed -join ','))
} finally {
    $single.ReleaseMutex()
}
exit 0
