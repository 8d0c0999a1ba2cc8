# winseed VERSION: puts this folder into Windows Deployment Services of this computer.
# Run it as often as you like: what is there already stays, what has changed is replaced.
# Nothing is asked twice, and no secret is written outside the RemoteInstall folder.
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    # Folder of the mounted Windows ISO by its name in hosts.json, as @{ 'MEDIA' = 'E:\' }
    [Parameter(Mandatory = $true)]
    [hashtable]$Media,
    # Who the WDS client logs on as; a right to read install images is enough
    [Parameter(Mandatory = $true)]
    [System.Management.Automation.PSCredential]$Login,
    # Secrets by their marks in unattend\image, as @{ '__WINSEED_ADMINISTRATOR__' = (Read-Host -AsSecureString) }
    [hashtable]$Secrets = @{},
    # Set the switch that CVE-2026-0386 is about. Read README.md before you say so.
    [switch]$AllowHandsFree
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$here = Split-Path -Parent $MyInvocation.MyCommand.Path
$providers = 'HKLM:\SYSTEM\CurrentControlSet\Services\WDSServer\Providers'
$unattendKey = "$providers\WdsImgSrv\Unattend"

function Write-Fact($text) {
    # not the pipeline: functions that return something speak as well
    Write-Host ('winseed: {0}' -f $text)
}

function Test-Tree {
    # Every file as winseed wrote it; sums are in the form of sha256sum.
    foreach ($line in Get-Content -LiteralPath (Join-Path $here 'SHA256SUMS')) {
        $sum = $line.Substring(0, 64)
        $name = $line.Substring(66)
        $path = Join-Path $here $name.Replace('/', '\')
        if (-not (Test-Path -LiteralPath $path)) {
            throw ('{0} is missing: copy the folder again' -f $name)
        }
        if ((Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash -ne $sum) {
            throw ('{0} has changed: copy the folder again' -f $name)
        }
    }
}

function Get-PlainText($secure) {
    $pointer = [System.Runtime.InteropServices.Marshal]::SecureStringToBSTR($secure)
    try {
        return [System.Runtime.InteropServices.Marshal]::PtrToStringBSTR($pointer)
    } finally {
        [System.Runtime.InteropServices.Marshal]::ZeroFreeBSTR($pointer)
    }
}

function Get-Secret($mark, $hostName) {
    # A secret of one host goes before one for all: 'dc01:__WINSEED_ADMINISTRATOR__'.
    foreach ($key in ('{0}:{1}' -f $hostName, $mark), $mark) {
        if ($Secrets.ContainsKey($key)) {
            return $Secrets[$key]
        }
    }
    $key = '{0}:{1}' -f $hostName, $mark
    $Secrets[$key] = Read-Host -AsSecureString -Prompt $key
    return $Secrets[$key]
}

function ConvertTo-Value($mark, $plain) {
    # The form that PlainText=false demands: Base64 of UTF-16 of the secret and its element's name.
    $suffix = $null
    if ($mark -eq '__WINSEED_ADMINISTRATOR__') {
        $suffix = 'AdministratorPassword'
    } elseif ($mark -like '__WINSEED_ACCOUNT_*') {
        $suffix = 'Password'
    }
    if ($suffix) {
        return [System.Convert]::ToBase64String([System.Text.Encoding]::Unicode.GetBytes($plain + $suffix))
    }
    return [System.Security.SecurityElement]::Escape($plain)
}

function Write-Filled($source, $target, $hostName) {
    # The file with every mark filled in. It is written where only WDS and administrators read.
    $text = [System.IO.File]::ReadAllText($source)
    $account = $Login.GetNetworkCredential()
    $known = @{
        '__WINSEED_LOGIN_DOMAIN__'   = $account.Domain
        '__WINSEED_LOGIN_USER__'     = $account.UserName
        '__WINSEED_LOGIN_PASSWORD__' = $account.Password
    }
    foreach ($match in [regex]::Matches($text, '__WINSEED_[A-Z0-9_]+?__') | ForEach-Object { $_.Value } | Sort-Object -Unique) {
        if ($known.ContainsKey($match)) {
            $plain = $known[$match]
        } else {
            $plain = Get-PlainText (Get-Secret $match $hostName)
        }
        $text = $text.Replace($match, (ConvertTo-Value $match $plain))
    }
    $folder = Split-Path -Parent $target
    if (-not (Test-Path -LiteralPath $folder)) {
        New-Item -ItemType Directory -Path $folder | Out-Null
    }
    [System.IO.File]::WriteAllText($target, $text, (New-Object System.Text.UTF8Encoding $false))
}

function Get-MediaFile($name, $file) {
    if (-not $Media.ContainsKey($name)) {
        throw ('name the folder of the Windows ISO {0} in -Media' -f $name)
    }
    $path = Join-Path $Media[$name] $file
    if (-not (Test-Path -LiteralPath $path)) {
        throw ('{0} is missing: mount the Windows ISO that winseed was given' -f $path)
    }
    return $path
}

function Confirm-HandsFree {
    # KB5074952: without this value WDS hands out no answer file from 14 April 2026 on.
    $value = (Get-ItemProperty -Path $unattendKey -Name 'AllowHandsFreeFunctionality' -ErrorAction SilentlyContinue)
    if ($value -and $value.AllowHandsFreeFunctionality -eq 1) {
        return
    }
    if (-not $AllowHandsFree) {
        throw 'AllowHandsFreeFunctionality is not 1: WDS gives no answer file to anybody. README.md tells what -AllowHandsFree means'
    }
    if ($PSCmdlet.ShouldProcess($unattendKey, 'AllowHandsFreeFunctionality=1')) {
        if (-not (Test-Path -Path $unattendKey)) {
            New-Item -Path $unattendKey -Force | Out-Null
        }
        New-ItemProperty -Path $unattendKey -Name 'AllowHandsFreeFunctionality' -PropertyType DWord -Value 1 -Force | Out-Null
        Write-Warning 'answer files are given to everybody on the boot network from now on (CVE-2026-0386)'
    }
}

function Import-BootImage($name) {
    $image = 'winseed {0}' -f $name
    $file = 'winseed-{0}.wim' -f $name
    if (Get-WdsBootImage -ImageName $image -Architecture X64 -ErrorAction SilentlyContinue) {
        Write-Fact ('boot image {0} is there' -f $image)
        return
    }
    $path = Join-Path $here ('boot\{0}.wim' -f $name)
    if (-not (Test-Path -LiteralPath $path)) {
        $path = Get-MediaFile $name 'sources\boot.wim'
    }
    if ($PSCmdlet.ShouldProcess($path, 'Import-WdsBootImage')) {
        Import-WdsBootImage -Path $path -NewImageName $image -NewFileName $file -SkipVerify | Out-Null
        Write-Fact ('boot image {0} imported' -f $image)
    }
}

function Import-Driver($group, $inf, $version, $boot, $images) {
    $label = 'winseed {0} {1} {2}' -f $group, (Split-Path -Leaf $inf), $version
    $package = Get-WdsDriverPackage -Name $label -ErrorAction SilentlyContinue
    if (-not $package) {
        if (-not $PSCmdlet.ShouldProcess($inf, 'Import-WdsDriverPackage')) {
            return
        }
        Import-WdsDriverPackage -Path $inf -Architecture X64 -DisplayName $label -GroupName $group | Out-Null
        Write-Fact ('driver {0} imported' -f $label)
        # What is in a boot image cannot be taken out again, so it is added once, with the import.
        foreach ($image in $images) {
            if ($boot) {
                Add-WdsDriverPackage -ImageName ('winseed {0}' -f $image) -Architecture X64 -Name $label | Out-Null
                Write-Fact ('driver {0} added to the boot image of {1}' -f $label, $image)
            }
        }
    }
}

function Import-BaseImage($group, $name, $source) {
    $image = 'winseed base {0} {1}' -f $name, $source
    if (-not (Get-WdsInstallImage -ImageName $image -ImageGroup $group -ErrorAction SilentlyContinue)) {
        $path = Get-MediaFile $name 'sources\install.wim'
        if ($PSCmdlet.ShouldProcess($path, 'Import-WdsInstallImage')) {
            Import-WdsInstallImage -Path $path -ImageGroup $group -ImageName $source -NewImageName $image -SkipVerify | Out-Null
            Write-Fact ('install image {0} imported' -f $image)
        }
    }
    return $image
}

function Import-Machine($machine, $group, $remote, $base) {
    # Each host has its own entry of the image: an image unattend belongs to an image, not to a device.
    $name = $machine.host
    $image = 'winseed {0}' -f $name
    $file = '{0}.wim' -f $name
    if (-not (Get-WdsInstallImage -ImageName $image -ImageGroup $group -ErrorAction SilentlyContinue)) {
        Copy-WdsInstallImage -ImageName $base -ImageGroup $group -NewImageName $image -NewFileName $file | Out-Null
    }
    $filled = Join-Path $env:TEMP ('winseed-{0}-{1}.xml' -f $name, [guid]::NewGuid())
    try {
        Write-Filled (Join-Path $here ('unattend\image\{0}.xml' -f $name)) $filled $name
        Set-WdsInstallImage -ImageName $image -ImageGroup $group -FileName $file -UnattendFile $filled -OverwriteUnattend | Out-Null
    } finally {
        Remove-Item -LiteralPath $filled -Force -ErrorAction SilentlyContinue
    }
    $oem = Join-Path $remote ('Images\{0}\{1}\$OEM$\$1\winseed-medium' -f $group, $name)
    if (Test-Path -LiteralPath $oem) {
        Remove-Item -LiteralPath $oem -Recurse -Force
    }
    New-Item -ItemType Directory -Path $oem -Force | Out-Null
    Copy-Item -Path (Join-Path $here ('medium\{0}\*' -f $name)) -Destination $oem -Recurse -Force
    $client = 'WdsClientUnattend\winseed-{0}.xml' -f $name
    Write-Filled (Join-Path $here ('unattend\client\{0}.xml' -f $name)) (Join-Path $remote $client) $name
    $boot = 'Boot\x64\Images\winseed-{0}.wim' -f $machine.media
    foreach ($id in $machine.device_ids) {
        $known = Get-WdsClient -DeviceID $id -ErrorAction SilentlyContinue
        if ($known) {
            Set-WdsClient -DeviceID $id -WdsClientUnattend $client -BootImagePath $boot -JoinDomain $false | Out-Null
        } else {
            New-WdsClient -DeviceID $id -DeviceName $machine.name -WdsClientUnattend $client -BootImagePath $boot -JoinDomain $false | Out-Null
        }
        Write-Fact ('{0}: device {1}' -f $name, $id)
        break
    }
}

Import-Module WDS
Test-Tree
Confirm-HandsFree
$plan = Get-Content -LiteralPath (Join-Path $here 'hosts.json') -Raw | ConvertFrom-Json
$remote = (Get-ItemProperty -Path "$providers\WDSTFTP").RootFolder
if (-not (Get-WdsInstallImageGroup -Name $plan.group -ErrorAction SilentlyContinue)) {
    if ($PSCmdlet.ShouldProcess($plan.group, 'New-WdsInstallImageGroup')) {
        New-WdsInstallImageGroup -Name $plan.group | Out-Null
    }
}
foreach ($name in $plan.media) {
    Import-BootImage $name
}
foreach ($driver in $plan.drivers) {
    $inf = Join-Path $here $driver.inf.Replace('/', '\')
    Import-Driver $driver.group $inf $driver.version $driver.boot $driver.media
}
foreach ($machine in $plan.hosts) {
    $base = Import-BaseImage $plan.group $machine.media $machine.image
    if ($PSCmdlet.ShouldProcess($machine.host, 'answer files, first-boot files, prestaged device')) {
        Import-Machine $machine $plan.group $remote $base
    }
}
Write-Fact ('{0} hosts are ready; start them from the network, disk first in the boot order' -f @($plan.hosts).Count)
