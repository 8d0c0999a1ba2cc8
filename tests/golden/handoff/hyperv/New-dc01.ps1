# winseed VERSION, build FINGERPRINT: DC01 on Hyper-V, Windows Server 2022 core
# Makes a machine of generation 2, installs it from two DVDs, and takes them away at the end.
#   .\New-dc01.ps1 -WindowsIso D:\iso\windows.iso -SwitchName LAN -Wait
#   .\New-dc01.ps1 -Remove          when it is up, if it was started without -Wait
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    # The Windows ISO; one made by `winseed noprompt` needs no key
    [string]$WindowsIso,
    [string]$SwitchName,
    # Folder of the machine and its disk. Default: that of the Hyper-V host
    [string]$Folder,
    # Send no key at the prompt of the Windows DVD
    [switch]$NoKey,
    # Wait until Windows is up, then take the DVDs away
    [switch]$Wait,
    # Only take the DVDs away, delete the answer ISO, attach the data disks
    [switch]$Remove,
    [int]$TimeoutMinutes = 120
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$here = Split-Path -Parent $MyInvocation.MyCommand.Path
$name = 'DC01'
$answer = Join-Path $here 'dc01-2022-core.iso'

function New-Machine {
    if (Get-VM -Name $name -ErrorAction SilentlyContinue) {
        throw ('there is a machine {0} already: nothing was changed' -f $name)
    }
    foreach ($path in $WindowsIso, $answer) {
        if (-not $path -or -not (Test-Path -LiteralPath $path)) {
            throw ('{0} is missing: give the Windows ISO with -WindowsIso, and keep the answer ISO beside this script' -f $path)
        }
    }
    if (-not $SwitchName) {
        throw 'give the virtual switch with -SwitchName'
    }
    if (-not $Folder) {
        $script:Folder = (Get-VMHost).VirtualMachinePath
    }
    $disk = Join-Path (Join-Path $Folder $name) ($name + '.vhdx')
    if (Test-Path -LiteralPath $disk) {
        throw ('{0} exists: it may hold somebody''s data, so it is not used' -f $disk)
    }
    New-Item -ItemType Directory -Force -Path (Split-Path -Parent $disk) | Out-Null
    New-VM -Name $name -Generation 2 -MemoryStartupBytes 4096MB -Path $Folder -NewVHDPath $disk -NewVHDSizeBytes 60GB -SwitchName $SwitchName | Out-Null
    Set-VM -Name $name -ProcessorCount 2 -CheckpointType Disabled
    # Hyper-V of Server 2016 makes none by itself and does not know the switch.
    if ((Get-Command Set-VM).Parameters.ContainsKey('AutomaticCheckpointsEnabled')) {
        Set-VM -Name $name -AutomaticCheckpointsEnabled $false
    }
    Set-VMMemory -VMName $name -DynamicMemoryEnabled $true
    # Addresses are given by MAC address, so each card gets the one of the plan.
    Get-VMNetworkAdapter -VMName $name | Rename-VMNetworkAdapter -NewName 'net0'
    Set-VMNetworkAdapter -VMName $name -Name 'net0' -StaticMacAddress 'BC2411000001'
    Set-VMNetworkAdapterVlan -VMName $name -VMNetworkAdapterName 'net0' -Access -VlanId 7
    Set-VMKeyProtector -VMName $name -NewLocalKeyProtector
    Enable-VMTPM -VMName $name
    # What Windows PE and the first boot say: read it with any program that opens named pipes.
    Set-VMComPort -VMName $name -Number 1 -Path ('\\.\pipe\winseed-' + $name)
    $windows = Add-VMDvdDrive -VMName $name -ControllerNumber 0 -Path $WindowsIso -Passthru
    Add-VMDvdDrive -VMName $name -ControllerNumber 0 -Path $answer
    $system = Get-VMHardDiskDrive -VMName $name
    # Disk first: empty, it falls through to the DVD once; after Setup's first restart it wins.
    Set-VMFirmware -VMName $name -BootOrder $system, $windows
    Set-VMFirmware -VMName $name -EnableSecureBoot On -SecureBootTemplate 'MicrosoftWindows'
}

function Start-Machine {
    Start-VM -Name $name
    if ($NoKey) {
        return
    }
    # "Press any key to boot from CD or DVD": Enter for twenty seconds, from the first moment on.
    $system = Get-CimInstance -Namespace 'root\virtualization\v2' -ClassName 'Msvm_ComputerSystem' | Where-Object { $_.ElementName -eq $name }
    $keyboard = $system | Get-CimAssociatedInstance -ResultClassName 'Msvm_Keyboard'
    foreach ($round in 1..80) {
        $keyboard | Invoke-CimMethod -MethodName 'TypeKey' -Arguments @{ keyCode = [uint32]13 } -ErrorAction SilentlyContinue | Out-Null
        Start-Sleep -Milliseconds 250
    }
}

function Get-GuestName {
    # What the guest tells by the data exchange service, without a logon.
    $system = Get-CimInstance -Namespace 'root\virtualization\v2' -ClassName 'Msvm_ComputerSystem' | Where-Object { $_.ElementName -eq $name }
    $exchange = $system | Get-CimAssociatedInstance -ResultClassName 'Msvm_KvpExchangeComponent'
    foreach ($item in @($exchange.GuestIntrinsicExchangeItems)) {
        if ($item -and $item -match 'FullyQualifiedDomainName') {
            $values = ([xml]$item).INSTANCE.PROPERTY
            return ($values | Where-Object { $_.NAME -eq 'Data' }).VALUE
        }
    }
    return ''
}

function Wait-Machine {
    # Up for ten minutes under its new name: Setup and the first boot have what they need from the DVDs.
    $end = (Get-Date).AddMinutes($TimeoutMinutes)
    while ((Get-Date) -lt $end) {
        Start-Sleep -Seconds 15
        $machine = Get-VM -Name $name
        if ($machine.State -eq 'Off') {
            throw ('{0} is off: the disk guard or Setup has stopped; the DVDs are still in it' -f $name)
        }
        if ($machine.Uptime.TotalMinutes -ge 10 -and (Get-GuestName) -like ($name + '*')) {
            return
        }
    }
    throw ('{0} did not come up in {1} minutes; the DVDs are still in it' -f $name, $TimeoutMinutes)
}

function Remove-Disc {
    # An answer ISO that stays is a leak, and Setup would read it once more after sysprep.
    Get-VMDvdDrive -VMName $name | Remove-VMDvdDrive
    if (Test-Path -LiteralPath $answer) {
        Remove-Item -LiteralPath $answer -Force
    }
    Write-Output ('{0}: DVDs taken away, answer ISO deleted' -f $name)
}

Import-Module Hyper-V
if (-not $Remove) {
    if (-not $PSCmdlet.ShouldProcess($name, 'create the machine and install Windows')) {
        return
    }
    New-Machine
    Start-Machine
    if (-not $Wait) {
        Write-Output ('{0} installs; when it is up: {1} -Remove' -f $name, $MyInvocation.MyCommand.Name)
        return
    }
    Wait-Machine
}
if ($PSCmdlet.ShouldProcess($name, 'take the DVDs away and delete the answer ISO')) {
    Remove-Disc
}
