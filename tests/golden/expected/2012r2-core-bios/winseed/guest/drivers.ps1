# winseed VERSION, build FINGERPRINT for winsrv
# Adds every package to the driver store and installs it where a device waits for it. A package
# that offline servicing has added already is left as it is.
$ErrorActionPreference = 'Continue'
$folder = Join-Path (Join-Path $env:ProgramData 'winseed') 'drivers'
$failed = 0
# Signed by its vendor: without the publisher's certificate Windows would ask (pkg-scripts#57).
foreach ($catalog in Get-ChildItem -Path (Join-Path $folder 'vioscsi\*.cat')) {
    $signature = Get-AuthenticodeSignature -FilePath $catalog.FullName
    if ($signature.SignerCertificate) {
        $store = New-Object System.Security.Cryptography.X509Certificates.X509Store 'TrustedPublisher', 'LocalMachine'
        $store.Open('ReadWrite')
        $store.Add($signature.SignerCertificate)
        $store.Close()
    }
}
& pnputil.exe -i -a (Join-Path $folder 'vioscsi\vioscsi.inf')
# 259: no device waits for it or it is there already; 3010: a restart completes it
# (learn.microsoft.com, PnPUtil return values)
if (@(0, 259, 3010) -notcontains $LASTEXITCODE) {
    Write-Output ('{0}: pnputil ended with {1}' -f 'vioscsi', $LASTEXITCODE)
    $failed = 1
}
# Signed by its vendor: without the publisher's certificate Windows would ask (pkg-scripts#57).
foreach ($catalog in Get-ChildItem -Path (Join-Path $folder 'viostor\*.cat')) {
    $signature = Get-AuthenticodeSignature -FilePath $catalog.FullName
    if ($signature.SignerCertificate) {
        $store = New-Object System.Security.Cryptography.X509Certificates.X509Store 'TrustedPublisher', 'LocalMachine'
        $store.Open('ReadWrite')
        $store.Add($signature.SignerCertificate)
        $store.Close()
    }
}
& pnputil.exe -i -a (Join-Path $folder 'viostor\viostor.inf')
# 259: no device waits for it or it is there already; 3010: a restart completes it
# (learn.microsoft.com, PnPUtil return values)
if (@(0, 259, 3010) -notcontains $LASTEXITCODE) {
    Write-Output ('{0}: pnputil ended with {1}' -f 'viostor', $LASTEXITCODE)
    $failed = 1
}
# Signed by its vendor: without the publisher's certificate Windows would ask (pkg-scripts#57).
foreach ($catalog in Get-ChildItem -Path (Join-Path $folder 'NetKVM\*.cat')) {
    $signature = Get-AuthenticodeSignature -FilePath $catalog.FullName
    if ($signature.SignerCertificate) {
        $store = New-Object System.Security.Cryptography.X509Certificates.X509Store 'TrustedPublisher', 'LocalMachine'
        $store.Open('ReadWrite')
        $store.Add($signature.SignerCertificate)
        $store.Close()
    }
}
& pnputil.exe -i -a (Join-Path $folder 'NetKVM\netkvm.inf')
# 259: no device waits for it or it is there already; 3010: a restart completes it
# (learn.microsoft.com, PnPUtil return values)
if (@(0, 259, 3010) -notcontains $LASTEXITCODE) {
    Write-Output ('{0}: pnputil ended with {1}' -f 'NetKVM', $LASTEXITCODE)
    $failed = 1
}
# Signed by its vendor: without the publisher's certificate Windows would ask (pkg-scripts#57).
foreach ($catalog in Get-ChildItem -Path (Join-Path $folder 'Balloon\*.cat')) {
    $signature = Get-AuthenticodeSignature -FilePath $catalog.FullName
    if ($signature.SignerCertificate) {
        $store = New-Object System.Security.Cryptography.X509Certificates.X509Store 'TrustedPublisher', 'LocalMachine'
        $store.Open('ReadWrite')
        $store.Add($signature.SignerCertificate)
        $store.Close()
    }
}
& pnputil.exe -i -a (Join-Path $folder 'Balloon\balloon.inf')
# 259: no device waits for it or it is there already; 3010: a restart completes it
# (learn.microsoft.com, PnPUtil return values)
if (@(0, 259, 3010) -notcontains $LASTEXITCODE) {
    Write-Output ('{0}: pnputil ended with {1}' -f 'Balloon', $LASTEXITCODE)
    $failed = 1
}
# Signed by its vendor: without the publisher's certificate Windows would ask (pkg-scripts#57).
foreach ($catalog in Get-ChildItem -Path (Join-Path $folder 'vioserial\*.cat')) {
    $signature = Get-AuthenticodeSignature -FilePath $catalog.FullName
    if ($signature.SignerCertificate) {
        $store = New-Object System.Security.Cryptography.X509Certificates.X509Store 'TrustedPublisher', 'LocalMachine'
        $store.Open('ReadWrite')
        $store.Add($signature.SignerCertificate)
        $store.Close()
    }
}
& pnputil.exe -i -a (Join-Path $folder 'vioserial\vioser.inf')
# 259: no device waits for it or it is there already; 3010: a restart completes it
# (learn.microsoft.com, PnPUtil return values)
if (@(0, 259, 3010) -notcontains $LASTEXITCODE) {
    Write-Output ('{0}: pnputil ended with {1}' -f 'vioserial', $LASTEXITCODE)
    $failed = 1
}
exit $failed
