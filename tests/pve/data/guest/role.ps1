# winseed guest script: role
# What this computer is in its domain: 4 and 5 are domain controllers.
param($payload, $values)
$system = Get-WmiObject -Class Win32_ComputerSystem
$values['computer_name'] = [string] $system.Name
$values['domain_role'] = [int] $system.DomainRole
$values['domain'] = [string] $system.Domain
