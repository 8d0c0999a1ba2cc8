# winseed guest script: call
# Runs the script of an envelope at most once per id, and tells its result as often as it is asked.
# The file <id>.started is held open for as long as the script runs: Windows closes it with the
# process, so a file that can be opened belongs to a run that was cut off.
param($envelope)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Set-StrictMode -Version 2
$folder = Join-Path $env:ProgramData 'winseed\results'
$id = [string] $envelope['id']
$record = [bool] $envelope['record']
$started = Join-Path $folder ($id + '.started')
$finished = Join-Path $folder ($id + '.json')
$lock = $null

function ConvertFrom-Base64([string] $text) {
    return [System.Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($text))
}

function ConvertTo-Literal([string] $text) {
    $escaped = $text.Replace('\', '\\').Replace('"', '\"')
    return '"' + [regex]::Replace($escaped, '[^ -~]', { param($match) '\u{0:x4}' -f [int] [char] $match.Value }) + '"'
}

function ConvertTo-Text($value) {
    # not ConvertTo-Json: it shows texts that came out of a cmdlet as objects
    if ($null -eq $value) {
        return 'null'
    }
    if ($value -is [bool]) {
        return ([string] $value).ToLowerInvariant()
    }
    if (($value -is [byte]) -or ($value -is [uint16]) -or ($value -is [int]) -or ($value -is [uint32]) -or ($value -is [long]) -or ($value -is [uint64])) {
        return $value.ToString([System.Globalization.CultureInfo]::InvariantCulture)
    }
    if ($value -is [System.Collections.IDictionary]) {
        $parts = @(foreach ($key in @($value.get_Keys())) { (ConvertTo-Literal ([string] $key)) + ':' + (ConvertTo-Text $value[$key]) })
        return '{' + ($parts -join ',') + '}'
    }
    if (($value -is [System.Collections.IEnumerable]) -and ($value -isnot [string])) {
        $parts = @(foreach ($item in $value) { ConvertTo-Text $item })
        return '[' + ($parts -join ',') + ']'
    }
    return ConvertTo-Literal ([string] $value)
}

function Write-Answer([string] $text) {
    $bytes = [System.Text.Encoding]::UTF8.GetBytes($text)
    [Console]::Out.WriteLine('winseed-result: ' + [Convert]::ToBase64String($bytes))
    [Console]::Out.Flush()
}

function Protect-Folder {
    # SYSTEM and Administrators, nobody else: who may write here could answer in a script's place
    $security = New-Object System.Security.AccessControl.DirectorySecurity
    $security.SetAccessRuleProtection($true, $false)
    foreach ($sid in 'S-1-5-18', 'S-1-5-32-544') {
        $identity = New-Object System.Security.Principal.SecurityIdentifier -ArgumentList $sid
        $rule = New-Object System.Security.AccessControl.FileSystemAccessRule -ArgumentList $identity, 'FullControl', 'ContainerInherit, ObjectInherit', 'None', 'Allow'
        $security.AddAccessRule($rule)
    }
    $null = [System.IO.Directory]::CreateDirectory($folder)
    [System.IO.Directory]::SetAccessControl($folder, $security)
}

function Open-Mark([System.IO.FileMode] $mode) {
    # the open file, or nothing when somebody else holds it or it is there already
    try {
        return New-Object System.IO.FileStream -ArgumentList $started, $mode, ([System.IO.FileAccess]::ReadWrite), ([System.IO.FileShare]::None), 4096, ([System.IO.FileOptions]::WriteThrough)
    } catch {
        if ($_.Exception.GetBaseException() -is [System.IO.IOException]) {
            return $null
        }
        throw
    }
}

function Save-Result([string] $text) {
    $draft = $finished + '.tmp'
    $stream = New-Object System.IO.FileStream -ArgumentList $draft, ([System.IO.FileMode]::Create), ([System.IO.FileAccess]::Write), ([System.IO.FileShare]::None), 4096, ([System.IO.FileOptions]::WriteThrough)
    try {
        $bytes = [System.Text.Encoding]::UTF8.GetBytes($text)
        $stream.Write($bytes, 0, $bytes.Length)
        $stream.Flush($true)
    } finally {
        $stream.Dispose()
    }
    [System.IO.File]::Move($draft, $finished)
}

function Invoke-Envelope {
    $values = @{}
    $code = 0
    $message = ''
    $secrets = @()
    try {
        $serializer = New-Object System.Web.Script.Serialization.JavaScriptSerializer
        $content = $serializer.DeserializeObject((ConvertFrom-Base64 $envelope['payload']))
        $secrets = @($content['secrets'])
        $null = & ([ScriptBlock]::Create((ConvertFrom-Base64 $envelope['script']))) $content['values'] $values
    } catch {
        $code = 1
        $message = 'line {0}: {1}' -f $_.InvocationInfo.ScriptLineNumber, $_.Exception.GetBaseException().Message
        foreach ($secret in $secrets) {
            $message = $message.Replace([string] $secret, '***')
        }
    }
    return ConvertTo-Text @{ state = 'done'; code = $code; message = $message; values = $values }
}

if (-not $record) {
    Write-Answer (Invoke-Envelope)
    return
}
if (-not [System.IO.File]::Exists($finished)) {
    Protect-Folder
    $lock = Open-Mark ([System.IO.FileMode]::CreateNew)
    if ($lock) {
        try {
            $lock.Flush($true)
            Save-Result (Invoke-Envelope)
        } finally {
            $lock.Dispose()
        }
    } else {
        $lock = Open-Mark ([System.IO.FileMode]::Open)
        if (-not $lock) {
            if (-not [System.IO.File]::Exists($finished)) {
                Write-Answer '{"state":"running"}'
                return
            }
        } else {
            $lock.Dispose()
        }
    }
}
if ([System.IO.File]::Exists($finished)) {
    Write-Answer ([System.IO.File]::ReadAllText($finished))
} else {
    Write-Answer '{"state":"interrupted"}'
}
