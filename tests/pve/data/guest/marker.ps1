# winseed guest script: marker
# The marker that the first boot leaves behind, and whether Windows calls itself complete.
param($payload, $values)
$marker = Join-Path $env:ProgramData 'winseed\done.json'
$values['marker'] = $null
if ([System.IO.File]::Exists($marker)) {
    $values['marker'] = [System.IO.File]::ReadAllText($marker)
}
$state = Get-Item -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State'
$values['image_state'] = [string] $state.GetValue('ImageState')
$values['booted'] = [string] (Get-WmiObject -Class Win32_OperatingSystem).LastBootUpTime
