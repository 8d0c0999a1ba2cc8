rem winseed VERSION, build FINGERPRINT for DC01
set "HOST=dc01"
set "BUILD_ID=FINGERPRINT"
set "DRIVERS=vioscsi.inf viostor.inf netkvm.inf"
set "URL=http://192.0.2.10:8080"
set "MEDIA=MEDIA"
set "IMAGE=install.wim"
set "INDEX=1"
set "FIRMWARE=UEFI"
