# winseed guest script: data-disks
# Lets the installation's own script prepare the data disks, and reads their letters back.
param($payload, $values)
$file = Join-Path $env:ProgramData 'winseed\data-disks.ps1'
if (-not [System.IO.File]::Exists($file)) {
    throw 'this installation has no script for data disks'
}
$output = @(& cmd.exe /d /c "powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File ""$file"" < nul 2>&1")
if ($LASTEXITCODE -ne 0) {
    throw ('data-disks.ps1 ended with {0}: {1}' -f $LASTEXITCODE, (($output | Select-Object -Last 8) -join '; '))
}
$values['lines'] = @($output | Select-Object -Last 40 | ForEach-Object { [string] $_ })
$values['volumes'] = @(foreach ($volume in @(Get-WmiObject -Class Win32_Volume)) {
    if ($volume.DriveLetter) {
        @{
            letter = ([string] $volume.DriveLetter).Substring(0, 1)
            kind = [int] $volume.DriveType
            label = [string] $volume.Label
            filesystem = [string] $volume.FileSystem
            bytes = [long] $volume.Capacity
        }
    }
})
