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
    if ($system.Count -eq 0) {
        throw 'the system disk is not known, no disk was touched'
    }
    $found = @(Get-WmiObject -Class Win32_DiskDrive | Where-Object { $system -notcontains $_.Index })
    if ($bySlot) {
        $found = @($found | Where-Object { $_.SCSILogicalUnit -eq $entry.Slot })
    }
    return @($found | ForEach-Object { Get-Disk -Number $_.Index } | Where-Object { $_.Size -eq $entry.Bytes })
}

function Test-Alone([hashtable] $entry) {
    # Without slots two wanted disks of one size cannot be told apart, even when one is not there yet.
    if ($bySlot) {
        return $true
    }
    return @($wanted | Where-Object { $_.Bytes -eq $entry.Bytes }).Count -eq 1
}

function Clear-Letter([string] $letter, [int] $number) {
    # A CD gives its letter away; a letter of anything else is left alone, and so is the disk.
    $holder = Get-WmiObject -Class Win32_Volume -Filter "DriveLetter = '$($letter):'"
    if (-not $holder) {
        return
    }
    if ($holder.DriveType -ne 5) {
        $own = @(Get-Partition -DiskNumber $number -ErrorAction SilentlyContinue | Where-Object { [string] $_.DriveLetter -eq $letter })
        if ($own.Count -eq 1) {
            return
        }
        throw ('{0}: the letter belongs to another volume, no disk was touched' -f $letter)
    }
    $taken = @(Get-WmiObject -Class Win32_Volume | ForEach-Object { $_.DriveLetter }) + @($wanted | ForEach-Object { $_.Letter + ':' })
    $free = @('Z', 'Y', 'X', 'W', 'V', 'U', 'T', 'S', 'R', 'Q', 'P') | Where-Object { $taken -notcontains "$($_):" } | Select-Object -First 1
    if (-not $free) {
        throw ('{0}: no letter is left for the CD that holds it' -f $letter)
    }
    $holder.DriveLetter = "$($free):"
    $holder.Put() | Out-Null
}

function Format-Entry([hashtable] $entry, [int] $number) {
    Initialize-Disk -Number $number -PartitionStyle GPT
    $partition = New-Partition -DiskNumber $number -UseMaximumSize -DriveLetter $entry.Letter
    $options = @{ Partition = $partition; FileSystem = $entry.FileSystem; NewFileSystemLabel = $entry.Label; Confirm = $false }
    if ($entry.Unit -gt 0) {
        $options.AllocationUnitSize = $entry.Unit
    }
    Format-Volume @options | Out-Null
}

function Mount-Entry([hashtable] $entry, [int] $number) {
    $data = @(Get-Partition -DiskNumber $number | Where-Object { $_.Type -eq 'Basic' -or $_.Type -eq 'IFS' })
    if ($data.Count -ne 1) {
        throw ('{0}: the disk holds {1} data partitions, none was touched' -f $entry.Letter, $data.Count)
    }
    if ([string] $data[0].DriveLetter -ne $entry.Letter) {
        Set-Partition -DiskNumber $number -PartitionNumber $data[0].PartitionNumber -NewDriveLetter $entry.Letter
    }
}

function Initialize-Entry([hashtable] $entry) {
    $disks = @(Find-Disk $entry)
    if ($disks.Count -eq 0) {
        Write-Output ('{0}: no disk of {1} bytes in slot {2} yet' -f $entry.Letter, $entry.Bytes, $entry.Slot)
        $script:waiting += 1
        return
    }
    if (($disks.Count -gt 1) -or (-not (Test-Alone $entry))) {
        throw ('{0}: more than one disk fits, none was touched' -f $entry.Letter)
    }
    $number = $disks[0].Number
    Clear-Letter $entry.Letter $number
    if ($disks[0].IsOffline) {
        Set-Disk -Number $number -IsOffline $false
    }
    if ((Get-Disk -Number $number).IsReadOnly) {
        Set-Disk -Number $number -IsReadOnly $false
    }
    # looked at again: what an offline disk holds may only be known once it is online
    Update-HostStorageCache
    if ((Get-Disk -Number $number).PartitionStyle -eq 'RAW') {
        Format-Entry $entry $number
    } else {
        Mount-Entry $entry $number
    }
    $volume = Get-Volume -DriveLetter $entry.Letter
    if (@('NTFS', 'ReFS') -notcontains [string] $volume.FileSystem) {
        throw ('{0}: disk {1} has no file system that Windows knows, it was not formatted' -f $entry.Letter, $number)
    }
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
    $file = Join-Path $env:ProgramData 'winseed\data-disks.ps1'
    & schtasks.exe /create /f /tn $task /sc onstart /ru SYSTEM /rl highest /tr "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $file" | Out-Null
    if ($LASTEXITCODE -ne 0) {
        Write-Output 'the start-up task that waits for the missing disks could not be made'
        $failed = 1
    }
} else {
    # cmd swallows the message of a missing task, which would end this script as an error
    & cmd.exe /d /c "schtasks.exe /delete /f /tn $task >nul 2>&1"
}
exit $failed
