rem winseed VERSION, build FINGERPRINT for fs01
set "HOST=fs01"
set "BUILD_ID=FINGERPRINT"
set "DRIVERS=vioscsi.inf viostor.inf netkvm.inf"
set "URL=http://192.0.2.10:8080"
set "MEDIA=MEDIA"
set "IMAGE=install.wim"
set "INDEX=2"
set "FIRMWARE=UEFI"
