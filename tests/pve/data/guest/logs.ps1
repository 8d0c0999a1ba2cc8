# winseed guest script: logs
# The ends of the logs that tell why an installation went wrong, as bytes.
param($payload, $values)
$windows = $env:SystemRoot
$limit = [int] $payload['bytes']
$paths = @(
    "$windows\Panther\setuperr.log",
    "$windows\Panther\setupact.log",
    "$windows\Panther\UnattendGC\setuperr.log",
    "$windows\Panther\UnattendGC\setupact.log",
    "$windows\Panther\unattendGC\diagerr.xml",
    "$windows\inf\setupapi.setup.log",
    "$windows\debug\NetSetup.LOG"
)
$own = Join-Path $env:ProgramData 'winseed\logs'
$paths += @(Get-ChildItem -LiteralPath $own -Filter '*.log' -ErrorAction SilentlyContinue | ForEach-Object { $_.FullName })
$values['files'] = @(foreach ($path in $paths) {
    if ([System.IO.File]::Exists($path)) {
        # Setup may still write to it
        $stream = New-Object System.IO.FileStream -ArgumentList $path, ([System.IO.FileMode]::Open), ([System.IO.FileAccess]::Read), ([System.IO.FileShare]'ReadWrite, Delete')
        try {
            $size = $stream.Length
            $null = $stream.Seek([Math]::Max(0, $size - $limit), [System.IO.SeekOrigin]::Begin)
            $buffer = New-Object byte[] ([int] [Math]::Min($size, $limit))
            $count = $stream.Read($buffer, 0, $buffer.Length)
        } finally {
            $stream.Dispose()
        }
        @{ path = $path; bytes = $size; tail = [Convert]::ToBase64String($buffer, 0, $count) }
    }
})
