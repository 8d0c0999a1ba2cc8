# winseed guest script: remove
# The last one: takes the results away. The marker and the logs of the first boot stay.
param($payload, $values)
$folder = Join-Path $env:ProgramData 'winseed\results'
if ([System.IO.Directory]::Exists($folder)) {
    [System.IO.Directory]::Delete($folder, $true)
}
