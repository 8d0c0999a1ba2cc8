# winseed guest script: join
# Joins the domain that the offline blob was made for; the next start completes it.
param($payload, $values)
$system = Get-WmiObject -Class Win32_ComputerSystem
if ([int] $system.DomainRole -ge 4) {
    throw 'this is a domain controller, nothing was changed'
}
$values['joined'] = [bool] $system.PartOfDomain
if ($system.PartOfDomain) {
    return
}
# the folder of the results: only SYSTEM and Administrators may look into it
$folder = Join-Path $env:ProgramData 'winseed\results'
$blob = Join-Path $folder 'join.blob'
try {
    # djoin writes and reads UTF-16 (FT29)
    [System.IO.File]::WriteAllText($blob, [string] $payload['blob'], [System.Text.Encoding]::Unicode)
    & cmd.exe /d /c "djoin.exe /requestODJ /loadfile ""$blob"" /windowspath ""$env:SystemRoot"" /localos >nul 2>&1"
    $code = $LASTEXITCODE
} finally {
    [System.IO.File]::Delete($blob)
}
if ($code -ne 0) {
    throw ('djoin ended with {0}; %SystemRoot%\debug\NetSetup.LOG says why' -f $code)
}
$values['joined'] = $true
