# winseed VERSION, build FINGERPRINT for files01
# Brings the data disks of the spec online: formatted only when RAW, else mounted. Never touches the
# system disk, and nothing at all when a disk cannot be told apart. Disks that are not attached yet
# are waited for at each start.
$ErrorActionPreference = 'Stop'
$wanted = @(
    @{ Letter = 'D'; Label = 'Data `$(1) ''it’’s'' & 100%!'; FileSystem = 'REFS'; Unit = 65536; Bytes = 100GB; Slot = 1 }
    @{ Letter = 'L'; Label = 'Logs'; FileSystem = 'NTFS'; Unit = 0; Bytes = 20GB; Slot = 2 }
)
$bySlot = $true
$task = 'winseed-data-disks'
$failed = 0
$waiting = 0

function Find-Disk([hashtable] $entry) {
    # Proxmox VE makes a disk's LUN its slot number; VirtIO Block and SATA tell nothing, so size must.
    $system = @(Get-Disk | Where-Object { $_.IsBoot -or $_.IsSystem } | ForEach-Object { $_.Number })
    $found = @(Get-WmiObject -Class Win32_DiskDrive | Where-Object { $system -notcontains $_.Index })
    if ($bySlot) {
        $found = @($found | Where-Object { $_.SCSILogicalUnit -eq $entry.Slot })
    }
    return @($found | ForEach-Object { Get-Disk -Number $_.Index } | Where-Object { $_.Size -eq $entry.Bytes })
}

function Move-CdLetter([string] $letter) {
    $cd = Get-WmiObject -Class Win32_Volume -Filter "DriveType = 5 AND DriveLetter = '$($letter):'"
    if ($cd) {
        $used = @(Get-WmiObject -Class Win32_Volume | ForEach-Object { $_.DriveLetter })
        $free = @('Z', 'Y', 'W', 'V', 'U', 'T') | Where-Object { $used -notcontains "$($_):" } | Select-Object -First 1
        $cd.DriveLetter = "$($free):"
        $cd.Put() | Out-Null
    }
}

function Initialize-Entry([hashtable] $entry) {
    $disks = @(Find-Disk $entry)
    if ($disks.Count -eq 0) {
        Write-Output ('{0}: no disk of {1} bytes in slot {2} yet' -f $entry.Letter, $entry.Bytes, $entry.Slot)
        $script:waiting += 1
        return
    }
    if ($disks.Count -gt 1) {
        throw ('{0}: {1} disks fit, none was touched' -f $entry.Letter, $disks.Count)
    }
    $number = $disks[0].Number
    Set-Disk -Number $number -IsOffline $false
    Set-Disk -Number $number -IsReadOnly $false
    Move-CdLetter $entry.Letter
    if ((Get-Disk -Number $number).PartitionStyle -eq 'RAW') {
        Initialize-Disk -Number $number -PartitionStyle GPT
        $partition = New-Partition -DiskNumber $number -UseMaximumSize -DriveLetter $entry.Letter
        $options = @{ Partition = $partition; FileSystem = $entry.FileSystem; NewFileSystemLabel = $entry.Label; Confirm = $false }
        if ($entry.Unit -gt 0) {
            $options.AllocationUnitSize = $entry.Unit
        }
        Format-Volume @options | Out-Null
    } else {
        $data = @(Get-Partition -DiskNumber $number | Where-Object { $_.Type -eq 'Basic' -or $_.Type -eq 'IFS' })
        if ($data.Count -ne 1) {
            throw ('{0}: the disk holds {1} data partitions, none was touched' -f $entry.Letter, $data.Count)
        }
        if ([string] $data[0].DriveLetter -ne $entry.Letter) {
            Set-Partition -DiskNumber $number -PartitionNumber $data[0].PartitionNumber -NewDriveLetter $entry.Letter
        }
    }
    $volume = Get-Volume -DriveLetter $entry.Letter
    Write-Output ('{0}: disk {1}, {2}, label {3}' -f $entry.Letter, $number, $volume.FileSystem, $volume.FileSystemLabel)
}

foreach ($entry in $wanted) {
    try {
        Initialize-Entry $entry
    } catch {
        Write-Output $_.Exception.Message
        $failed = 1
    }
}
if ($waiting -gt 0) {
    & schtasks.exe /create /f /tn $task /sc onstart /ru SYSTEM /rl highest /tr "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $env:ProgramData\winseed\data-disks.ps1" | Out-Null
} else {
    & schtasks.exe /query /tn $task 2>&1 | Out-Null
    if ($LASTEXITCODE -eq 0) {
        & schtasks.exe /delete /f /tn $task | Out-Null
    }
}
exit $failed
