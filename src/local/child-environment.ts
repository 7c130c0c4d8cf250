/**
 * Selects the environment variables for a child process: a list of those that programs, GPUs and engines need. All
 * others, such as the hosted API's key or cloud credentials, are not passed on. Pure.
 */
const names = new Set(
  [
    ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TMPDIR', 'TMP', 'TEMP', 'LANG', 'LANGUAGE', 'TZ', 'TERM'],
    ...['SYSTEMROOT', 'WINDIR', 'COMSPEC', 'PATHEXT', 'APPDATA', 'LOCALAPPDATA', 'USERPROFILE', 'PROGRAMDATA'],
    ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'OPENSSL_CONF'],
    ...['VIRTUAL_ENV', 'CONDA_PREFIX', 'PYTHONPATH', 'PYTHONHOME', 'CC', 'CXX', 'HF_HOME', 'HF_ENDPOINT'],
  ].map((name) => name.toUpperCase()),
)
const prefixes =
  /^(TRAMONTANE_|NODE_|LC_|LD_|DYLD_|XDG_|CUDA_|NVIDIA_|NCCL_|HIP_|HSA_|ROCM_|ROCR_|GGML_|LLAMA_|VLLM_|SGLANG_|SGL_|TORCH|PYTORCH_|TRITON_|OMP_|MKL_|OPENBLAS_|HF_HUB_)/
const secret = /KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|AUTH/

/**
 * @param passed names of secrets that this child needs
 * @param own additional variables for the child
 */
export function childEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  passed: readonly string[],
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  const selected = Object.entries(environment).flatMap(([name, value]): [string, string][] => {
    const upper = name.toUpperCase()
    const allowed = passed.includes(name) || ((names.has(upper) || prefixes.test(upper)) && !secret.test(upper))
    return allowed && value !== undefined ? [[name, value]] : []
  })
  return { ...Object.fromEntries(selected), ...own }
}
