# winseed: runs what comes on standard input; this text never changes and holds nothing
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Set-StrictMode -Version 2
Add-Type -AssemblyName 'System.Web.Extensions'
$reader = New-Object System.IO.StreamReader -ArgumentList ([Console]::OpenStandardInput()), ([System.Text.Encoding]::ASCII)
$serializer = New-Object System.Web.Script.Serialization.JavaScriptSerializer
$envelope = $serializer.DeserializeObject($reader.ReadToEnd())
$text = [System.Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($envelope['call']))
& ([ScriptBlock]::Create($text)) $envelope
