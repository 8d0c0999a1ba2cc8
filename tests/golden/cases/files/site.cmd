@echo off
echo site
