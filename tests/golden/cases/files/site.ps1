Write-Output "site"
