rem winseed VERSION, build FINGERPRINT for DC01
set "HOST=dc01"
set "BUILD_ID=FINGERPRINT"
set "DRIVERS=vioscsi.inf viostor.inf netkvm.inf"
set "SERVER=192.0.2.10"
set "SHARE=winseed"
set "MEDIA=MEDIA"
