# What every envcheck install script for Windows starts with. Windows PowerShell 5.1 and newer; ASCII only.
# Nothing acts when it is read: the script's last line calls Invoke-EcMain. State is text that is compared, never run.
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2
$script:EcLog = $null
$script:EcRan = $false
$script:EcChecking = $false
$script:EcNeedReboot = $false
$script:EcPending = 0
$script:EcStep = $null

function Write-Ec([string]$Text) {
  [Console]::Error.WriteLine('envcheck: ' + $Text)
}

function Stop-Ec([int]$Code, [string]$Text) {
  Write-Ec ('stopped: ' + $Text)
  exit $Code
}

function Show-Ec([string[]]$Words) {
  Write-Ec ('+ ' + ($Words -join ' '))
}

# --- state ---

function Get-EcStateFile {
  $base = $env:LOCALAPPDATA
  if (-not $base) { $base = [IO.Path]::GetTempPath() }
  $hash = [Security.Cryptography.SHA256]::Create()
  $here = $hash.ComputeHash([Text.Encoding]::UTF8.GetBytes((Get-Location).ProviderPath))
  $key = ([BitConverter]::ToString($here) -replace '-', '').Substring(0, 12).ToLowerInvariant()
  Join-Path (Join-Path $base 'envcheck') ($EcPlan.PlanId + '-' + $key + '.state')
}

function Test-EcState([string]$Line) {
  $file = Get-EcStateFile
  if (-not (Test-Path -LiteralPath $file)) { return $false }
  [IO.File]::ReadAllLines($file) -ccontains $Line
}

function Add-EcState([string]$Line) {
  if ($DryRun -or (Test-EcState $Line)) { return }
  $file = Get-EcStateFile
  [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($file))
  [IO.File]::AppendAllText($file, $Line + "`n")
}

function Get-EcBoot {
  (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('o')
}

# --- running ---

# The program behind a name. A batch file would let cmd.exe read the words once more, so words that it treats as its own
# stop here.
function Get-EcProgram([string[]]$Words) {
  $name = $Words[0]
  if ($name -eq 'conda' -and $env:CONDA_EXE) { return $env:CONDA_EXE }
  $found = @(Get-Command -Name $name -CommandType Application -ErrorAction SilentlyContinue)
  if ($found.Count -eq 0) { return $null }
  $path = $found[0].Source
  if ($path -match '\.(bat|cmd)$') {
    foreach ($word in $Words) {
      if ($word -match '[<>&|^%!"]') { Stop-Ec 11 ($name + ' is a batch file, which cannot be given: ' + $word) }
    }
  }
  $path
}

function Invoke-EcNative([string[]]$Words) {
  $program = Get-EcProgram $Words
  if (-not $program) {
    Write-Ec ($Words[0] + ' is not installed or not on PATH')
    return 127
  }
  $rest = @($Words | Select-Object -Skip 1)
  # Native programs write progress to stderr; with Stop that would end the script in Windows PowerShell.
  $ErrorActionPreference = 'Continue'
  & $program @rest | Out-Host
  $LASTEXITCODE
}

# Like Invoke-EcNative, silent: the exit code alone.
function Test-EcNative([string[]]$Words) {
  $program = Get-EcProgram $Words
  if (-not $program) { return $false }
  $rest = @($Words | Select-Object -Skip 1)
  $ErrorActionPreference = 'Continue'
  & $program @rest 2>&1 | Out-Null
  $LASTEXITCODE -eq 0
}

function Get-EcOutput([string[]]$Words) {
  $program = Get-EcProgram $Words
  if (-not $program) { return '' }
  $rest = @($Words | Select-Object -Skip 1)
  $ErrorActionPreference = 'Continue'
  $text = & $program @rest 2>$null
  if ($LASTEXITCODE -ne 0) { return '' }
  (@($text) -join "`n").Trim()
}

function Save-EcText([string]$Name, [string]$Text) {
  $folder = Join-Path ([IO.Path]::GetTempPath()) ('envcheck-' + $PID)
  [void][IO.Directory]::CreateDirectory($folder)
  $file = Join-Path $folder $Name
  [IO.File]::WriteAllText($file, $Text)
  $file
}

# --- what steps call; a check answers $true or $false ---

function ec_have {
  $file = Save-EcText 'have.py' (Get-EcHaveText)
  $rest = @($args | Select-Object -Skip 1)
  Test-EcNative (@($args[0], $file, 'have') + $rest)
}

function ec_have_in {
  $file = Save-EcText 'have.py' (Get-EcHaveText)
  $rest = @($args | Select-Object -Skip 2)
  Test-EcNative (@($args[0], 'run', '-n', $args[1], 'python', $file, 'have') + $rest)
}

function ec_same_build {
  $file = Save-EcText 'have.py' (Get-EcHaveText)
  $rest = @($args | Select-Object -Skip 1)
  Test-EcNative (@($args[0], $file, 'same') + $rest)
}

function Get-EcPython([string[]]$Words) {
  # Single quotes alone: Windows PowerShell does not pass double quotes on to programs.
  $code = 'import sys, sysconfig; print(''%d.%d'' % sys.version_info[:2] + ''t'' * bool(sysconfig.get_config_var(''Py_GIL_DISABLED'')))'
  Get-EcOutput ($Words + @('-c', $code))
}

function ec_have_python([string]$Python, [string]$Version, [string]$Place) {
  $found = ''
  if (Get-EcProgram @($Python)) { $found = Get-EcPython @($Python) }
  if ($found -eq $Version) { return $true }
  if (-not $found) {
    $filled = (Test-Path -LiteralPath $Place) -and @(Get-ChildItem -LiteralPath $Place -Force).Count -gt 0
    if (-not $filled -or (Test-EcState ('created ' + $Place))) { return $false }
    Stop-Ec 11 ($Place + ' is there and is no environment with a working Python: remove it, or name another place')
  }
  Stop-Ec 11 ('the environment ' + $Place + ' is there with Python ' + $found + ', and this plan needs ' + $Version + ': remove it, or name another place')
}

function ec_have_python_in([string]$Tool, [string]$Place, [string]$Version) {
  $found = Get-EcPython @($Tool, 'run', '-n', $Place, 'python')
  if (-not $found) { return $false }
  if ($found -eq $Version) { return $true }
  Stop-Ec 11 ('the environment ' + $Place + ' is there with Python ' + $found + ', and this plan needs ' + $Version + ': remove it, or name another')
}

function ec_have_command([string]$Name) { [bool](Get-EcProgram @($Name)) }

function ec_need_command([string]$Name, [string]$What) {
  if (ec_have_command $Name) { return }
  if ($DryRun) { Write-Ec ('would stop here: ' + $Name + ' is not installed; ' + $What); return }
  Stop-Ec 11 ($Name + ' is not installed; ' + $What)
}

function Test-EcFile([string]$Path) { Test-Path -LiteralPath $Path -PathType Leaf }

# One of them.
function ec_file_exists {
  foreach ($path in $args) { if (Test-EcFile $path) { return $true } }
  $false
}

function Get-EcLines([object[]]$Words) {
  (@($Words | Select-Object -Skip 1) -join "`n") + "`n"
}

function Get-EcFull([string]$Path) { $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path) }

function ec_file_is {
  if (-not (Test-EcFile $args[0])) { return $false }
  [IO.File]::ReadAllText((Get-EcFull $args[0])) -ceq (Get-EcLines $args)
}

function ec_write_file {
  $path = $args[0]
  Write-Ec ('+ write ' + $path)
  if ($DryRun -or (ec_file_is @args)) { return }
  if (Test-Path -LiteralPath $path) { Stop-Ec 11 ($path + ' is there and holds something else: move it away, envcheck does not change it') }
  $full = Get-EcFull $path
  [void][IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($full))
  [IO.File]::WriteAllText($full, (Get-EcLines $args))
}

function ec_remove_created([string]$Path) {
  if (-not (Test-EcState ('created ' + $Path))) { Write-Ec ($Path + ' was there before, it stays'); return }
  Write-Ec ('+ remove ' + $Path)
  if (-not $DryRun -and (Test-Path -LiteralPath $Path)) { Remove-Item -LiteralPath $Path -Recurse -Force }
}

function Get-EcSha256([string]$Path) { (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash.ToLowerInvariant() }

function ec_sha256_manifest([string]$Folder) {
  Write-Ec ('+ write SHA256SUMS of ' + $Folder)
  if ($DryRun) { return }
  $lines = @(Get-ChildItem -LiteralPath $Folder -File | Where-Object { $_.Name -ne 'SHA256SUMS' } | Sort-Object Name |
      ForEach-Object { (Get-EcSha256 $_.FullName) + '  ' + $_.Name })
  [IO.File]::WriteAllText((Join-Path (Get-EcFull $Folder) 'SHA256SUMS'), ($lines -join "`n") + "`n")
}

function ec_offline_filled([string]$Folder) {
  ec_sha256_manifest $Folder
  if ($DryRun) { return }
  Write-Ec ($Folder + ' is filled. Carry it and this script to the target, and run the script there')
  exit 0
}

# With the manifest there, the comparison with it has the word.
function ec_have_wheels {
  if (Test-EcFile (Join-Path $args[0] 'SHA256SUMS')) { return $true }
  if (-not (Test-Path -LiteralPath $args[0])) { return $false }
  $names = @(Get-ChildItem -LiteralPath $args[0] -File | ForEach-Object { $_.Name })
  foreach ($word in @($args | Select-Object -Skip 1)) {
    if (@($names | Where-Object { $_.StartsWith($word + '-') -and $_.EndsWith('.whl') }).Count -eq 0) { return $false }
  }
  $true
}

function ec_have_locked_wheels([string]$Folder, [string]$Lock) {
  if (Test-EcFile (Join-Path $Folder 'SHA256SUMS')) { return $true }
  if (-not (Test-EcFile $Lock)) { return $false }
  $names = @(Get-ChildItem -LiteralPath $Folder -File | ForEach-Object { $_.Name.ToLowerInvariant() })
  $seen = $false
  foreach ($line in [IO.File]::ReadAllLines((Get-EcFull $Lock))) {
    if ($line -notmatch '^([A-Za-z0-9._-]+)==([^\s;\\]+)') { continue }
    $seen = $true
    $start = ($Matches[1] -replace '[-_.]+', '_').ToLowerInvariant() + '-' + $Matches[2] + '-'
    if (@($names | Where-Object { $_.StartsWith($start) -and $_.EndsWith('.whl') }).Count -eq 0) { return $false }
  }
  $seen
}

# Asked as a check it only answers.
function ec_sha256_check([string]$Folder) {
  if ($DryRun -and -not $script:EcChecking) { Write-Ec ('+ compare ' + $Folder + ' with its SHA256SUMS'); return }
  $wrong = Get-EcSha256Wrong $Folder
  if ($script:EcChecking) { return (-not $wrong) }
  if ($wrong) { Stop-Ec 11 ($wrong + ': carry or fill the directory again') }
}

function Get-EcSha256Wrong([string]$Folder) {
  $sums = Join-Path $Folder 'SHA256SUMS'
  if (-not (Test-EcFile $sums)) { return ($sums + ' is missing') }
  $known = @{}
  foreach ($line in [IO.File]::ReadAllLines((Get-EcFull $sums))) {
    if ($line -notmatch '^([0-9a-f]{64})  ([^\\/]+)$') { return ($sums + ' is damaged') }
    $known[$Matches[2]] = $Matches[1]
  }
  foreach ($name in $known.Keys) {
    $file = Join-Path $Folder $name
    if (-not (Test-EcFile $file) -or (Get-EcSha256 $file) -cne $known[$name]) {
      return ($file + ' is not the file that was written down (SHA-256 differs)')
    }
  }
  foreach ($file in Get-ChildItem -LiteralPath $Folder -File) {
    if ($file.Name -ne 'SHA256SUMS' -and -not $known.ContainsKey($file.Name)) { return ($file.Name + ' is not in SHA256SUMS') }
  }
  ''
}

function Get-EcDriver { (Get-EcOutput @('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')).Split("`n")[0].Trim() }

function ec_driver_branch([string]$Branch) {
  $here = (Get-EcDriver).Split('.')[0]
  ($here -match '^[0-9]+$') -and ([int]$here -ge [int]$Branch)
}

function ec_verify {
  $kind = $args[0]
  $rest = @($args | Select-Object -Skip 1)
  if ($DryRun) { Show-Ec ($rest + @('verify.py', $kind)); return }
  $file = Save-EcText 'verify.py' (Get-EcVerifyText)
  $code = Invoke-EcNative ($rest + @($file, $kind, ('--torch=' + $EcPlan.Torch), ('--cuda=' + $EcPlan.Cuda)))
  if ($code -ne 0) { exit $code }
}

# --- is this the machine of the plan? ---

function Assert-Ec([string]$What, [string]$Here, [string]$Planned) {
  if ($Here -eq $Planned) { return }
  $text = 'this is not the machine that the plan was made for: ' + $What + ' is ' + $Here + ' here and ' + $Planned + ' in the plan. Make a plan here: envcheck plan'
  if ($DryRun) { Write-Ec ('would stop with exit code 11: ' + $text) } else { Stop-Ec 11 $text }
}

function Assert-EcUser {
  if ($EcPlan.Os -ne 'windows' -or $env:OS -ne 'Windows_NT') { Assert-Ec 'the system' ([string]$env:OS) $EcPlan.Os }
  $arch = @{ 'AMD64' = 'x86_64'; 'ARM64' = 'aarch64' }[[string]$env:PROCESSOR_ARCHITECTURE]
  if ($EcPlan.Arch) { Assert-Ec 'the architecture' ([string]$arch) ($EcPlan.Arch -replace '^arm64$', 'aarch64') }
}

function Assert-EcGpu {
  if (-not $EcPlan.Gpus) { return }
  $query = Get-EcOutput @('nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader')
  if ($query) {
    $here = (@($query.Split("`n") | ForEach-Object { $_.Trim() } | Sort-Object) -join ' ')
    Assert-Ec 'the set of GPUs (compute capabilities)' $here $EcPlan.Gpus
  }
  $driver = Get-EcDriver
  if (-not $driver) { return }
  $branch = $driver.Split('.')[0]
  $newer = $EcPlan.Driver -and $branch -eq $EcPlan.Driver.Split('.')[0] -and [version]$driver -ge [version]$EcPlan.Driver
  $come = $EcPlan.Target -and [int]$branch -ge [int]$EcPlan.Target
  if ($driver -ne $EcPlan.Driver -and -not $newer -and -not $come) { Assert-Ec 'the NVIDIA driver' $driver $EcPlan.Driver }
}

# --- steps ---

function Test-EcDone($Step) {
  if ($Step.Stage -eq 'verify') { return $false }
  if ($Step.Check.Count -gt 0) {
    $name = $Step.Check[0]
    $rest = @($Step.Check | Select-Object -Skip 1)
    $script:EcChecking = $true
    if ($name -clike 'ec_*') { $good = & $name @rest } else { $good = Test-EcNative $Step.Check }
    $script:EcChecking = $false
    if ($good) { return $true }
  }
  $Step.Once -and (Test-EcState ('done ' + $Step.Id))
}

function Invoke-EcWords([string[]]$Words) {
  if ($Words[0] -clike 'ec_*') {
    $name = $Words[0]
    $rest = @($Words | Select-Object -Skip 1)
    & $name @rest | Out-Null
    return 0
  }
  Show-Ec $Words
  if ($DryRun) { return 0 }
  Invoke-EcNative $Words
}

function Invoke-EcStep($Step) {
  if (Test-EcDone $Step) { Write-Ec ('already done: ' + $Step.Title); return }
  if ($Step.Argv.Count -eq 0) { Invoke-EcByHand $Step; return }
  Write-Ec ($Step.Id + ': ' + $Step.Title)
  if ($Step.Why) { Write-Ec ('  why: ' + $Step.Why) }
  if ($Step.Stage -ne 'verify') {
    Add-EcState ('ran ' + $Step.Id)
    if ($Step.Undo.Count -gt 1 -and $Step.Undo[0] -ceq 'ec_remove_created' -and -not (Test-Path -LiteralPath $Step.Undo[1])) {
      Add-EcState ('created ' + $Step.Undo[1])
    }
  }
  $code = Invoke-EcWords $Step.Argv
  if ($code -ne 0) {
    Write-Ec ('stopped: step ' + $Step.Id + ' failed with exit code ' + $code + '; when that is repaired, run this script again: it goes on there')
    exit $code
  }
  if ($DryRun -or $Step.Stage -eq 'verify') { return }
  if ($Step.Check.Count -gt 0 -and -not $Step.Once) { $script:EcRan = $true }
  Add-EcState ('done ' + $Step.Id)
}

function Invoke-EcByHand($Step) {
  if ($Step.Reboot) {
    $boot = 'reboot ' + (Get-EcBoot)
    if (Test-EcState ('ran ' + $Step.Id)) {
      if (-not (Test-EcState $boot)) { return }
    }
    Write-Ec $Step.Title
    Add-EcState ('ran ' + $Step.Id)
    Add-EcState $boot
    $script:EcNeedReboot = $true
  } elseif ($DryRun) {
    Write-Ec ('by hand: ' + $Step.Title + ' (' + $Step.Why + ')')
  } else {
    Stop-Ec 11 ($Step.Title + '. ' + $Step.Why)
  }
}

function Invoke-EcStage([string]$Name) {
  $steps = @($EcSteps | Where-Object { $_.Stage -eq $Name })
  $bound = $false
  $script:EcRan = $false
  foreach ($step in $steps) {
    if (-not $bound -and $step.Id -notlike 'fill-*') {
      if ($Name -eq 'user') { Assert-EcUser } elseif ($Name -eq 'verify') { Assert-EcGpu }
      $bound = $true
    }
    Invoke-EcStep $step
  }
  if ($script:EcRan -and -not $DryRun) {
    foreach ($step in $steps) {
      if ($step.Check.Count -gt 0 -and -not $step.Once -and -not (Test-EcDone $step)) {
        Stop-Ec 1 ('the commands of this step ended well, and yet its check fails: ' + $step.Title)
      }
    }
  }
  if ($script:EcNeedReboot) {
    Write-Ec 'reboot this machine, then run this script again: it goes on where it stopped'
    if (-not $DryRun) { exit 10 }
  }
}

function Invoke-EcUndo {
  $steps = @($EcSteps | Where-Object { $_.Undo.Count -gt 0 -and (Test-EcState ('ran ' + $_.Id)) })
  if ($steps.Count -eq 0) { Write-Ec 'nothing to take back: this script changed nothing here'; return }
  [array]::Reverse($steps)
  foreach ($step in $steps) { Write-Ec ('take back: ' + $step.Title) }
  Confirm-Ec 'take back the steps above?'
  $failed = $false
  foreach ($step in $steps) {
    if ((Invoke-EcWords $step.Undo) -ne 0) { $failed = $true }
  }
  if ($failed) { Stop-Ec 1 'not everything could be taken back, see above; run it again when that is repaired' }
  if (-not $DryRun) { Remove-Item -LiteralPath (Get-EcStateFile) -Force }
}

function Confirm-Ec([string]$Question) {
  if ($Yes -or $DryRun) { return }
  if ([Console]::IsInputRedirected) { Stop-Ec 11 'nobody can be asked here (no terminal): pass -Yes to go on without a question' }
  $answer = Read-Host ('envcheck: ' + $Question + ' [y/N]')
  if ($answer -notmatch '^[yY]') { Stop-Ec 11 'not confirmed, nothing was changed' }
}

function Invoke-EcMain {
  if (@('all', 'system', 'user', 'verify', 'undo') -notcontains $Stage) {
    Write-Ec '-Stage takes system, user, verify or undo'
    exit 2
  }
  Write-Ec ('plan ' + $EcPlan.PlanId + ', made by envcheck ' + $EcPlan.Envcheck)
  try {
    if ($Stage -eq 'undo') { Invoke-EcUndo }
    elseif ($Stage -eq 'all') { Invoke-EcStage 'system'; Invoke-EcStage 'user'; Invoke-EcStage 'verify' }
    else { Invoke-EcStage $Stage }
  } finally {
    $folder = Join-Path ([IO.Path]::GetTempPath()) ('envcheck-' + $PID)
    if (Test-Path -LiteralPath $folder) { Remove-Item -LiteralPath $folder -Recurse -Force }
  }
  Write-Ec 'finished'
}
