# winseed guest script: facts
# What Windows says of itself after the installation. Looks only, changes nothing.
param($payload, $values)

function Get-Value([string] $path, [string] $name) {
    # a value of the registry as text, nothing where there is none
    if (-not (Test-Path -LiteralPath $path)) {
        return $null
    }
    $value = (Get-Item -LiteralPath $path).GetValue($name)
    if ($null -eq $value) {
        return $null
    }
    return [string] $value
}

function Get-Property($object, [string] $name) {
    # older releases know fewer properties of a device
    $property = $object.PSObject.Properties[$name]
    if ((-not $property) -or ($null -eq $property.Value)) {
        return ''
    }
    return [string] $property.Value
}

$system = Get-WmiObject -Class Win32_ComputerSystem
$values['computer_name'] = [string] $system.Name
$values['domain_role'] = [int] $system.DomainRole
$values['domain'] = [string] $system.Domain
$values['booted'] = [string] (Get-WmiObject -Class Win32_OperatingSystem).LastBootUpTime

$version = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$values['edition'] = Get-Value $version 'EditionID'
$values['installation_type'] = Get-Value $version 'InstallationType'
$values['build'] = Get-Value $version 'CurrentBuildNumber'
$values['revision'] = Get-Value $version 'UBR'
$values['image_state'] = Get-Value 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State' 'ImageState'

$pending = @()
if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending') {
    $pending += 'servicing'
}
if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired') {
    $pending += 'update'
}
$names = 'HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName'
if ((Get-Value "$names\ActiveComputerName" 'ComputerName') -ne (Get-Value "$names\ComputerName" 'ComputerName')) {
    $pending += 'computer name'
}
if (Get-Value 'HKLM:\SYSTEM\CurrentControlSet\Services\Netlogon' 'JoinDomain') {
    $pending += 'domain'
}
$values['pending'] = $pending
$session = (Get-Item -LiteralPath 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager').GetValue('PendingFileRenameOperations')
$values['renames'] = @($session | Where-Object { $_ } | ForEach-Object { [string] $_ })

$update = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
$values['policies'] = @(foreach ($subkey in '', 'AU') {
    $path = ($update + '\' + $subkey).TrimEnd('\')
    $key = Get-Item -LiteralPath $path -ErrorAction SilentlyContinue
    if ($key) {
        foreach ($name in $key.GetValueNames()) {
            @{ subkey = $subkey; name = $name; value = [string] $key.GetValue($name) }
        }
    }
})

$drivers = @{}
foreach ($driver in @(Get-WmiObject -Class Win32_PnPSignedDriver)) {
    if ($driver.DeviceID) {
        $drivers[[string] $driver.DeviceID] = $driver
    }
}
$values['devices'] = @(foreach ($device in @(Get-WmiObject -Class Win32_PnPEntity)) {
    $driver = $drivers[[string] $device.DeviceID]
    $inf = ''
    $release = ''
    $provider = ''
    if ($driver) {
        $inf = Get-Property $driver 'InfName'
        $release = Get-Property $driver 'DriverVersion'
        $provider = Get-Property $driver 'DriverProviderName'
    }
    @{
        id = [string] $device.DeviceID
        name = Get-Property $device 'Name'
        hardware_ids = @($device.HardwareID | Where-Object { $_ } | ForEach-Object { [string] $_ })
        problem = [int] $device.ConfigManagerErrorCode
        service = Get-Property $device 'Service'
        inf = $inf
        version = $release
        provider = $provider
    }
})
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
$agent = Get-Service -Name 'QEMU-GA' -ErrorAction SilentlyContinue
$values['agent'] = ''
if ($agent) {
    $values['agent'] = [string] $agent.Status
}
