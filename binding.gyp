{
  # sanitize: "address,undefined" builds the addon for a node started with LD_PRELOAD=libasan.so; empty for use.
  'variables': { 'sanitize%': '' },
  'target_defaults': {
    'cflags': ['-Wall', '-Wextra', '-Wno-cast-function-type', '-fstack-protector-strong', '-fvisibility=hidden', '-pthread'],
    'cflags_c': ['-std=gnu11'],
    'ldflags': ['-Wl,-z,relro,-z,now', '-pthread'],
    'conditions': [
      ['sanitize==""', { 'cflags': ['-D_FORTIFY_SOURCE=2'] }],
      ['sanitize!=""', {
        'cflags': ['-fsanitize=<(sanitize)', '-fno-omit-frame-pointer', '-g'],
        'ldflags': ['-fsanitize=<(sanitize)'],
      }],
      ['target_arch=="x64"', { 'cflags': ['-fcf-protection'] }],
    ],
  },
  'targets': [
    {
      'target_name': 'osb_init',
      'type': 'none',
      'actions': [{
        'action_name': 'build_init',
        'inputs': ['native/protocol.h', 'native/init/Makefile', '<!@(ls native/init/*.c native/init/*.h)'],
        'outputs': ['<(module_root_dir)/build/init/osb-init'],
        'action': ['make', '-C', 'native/init', 'OUT=<(module_root_dir)/build/init'],
      }],
    },
    {
      'target_name': 'opensandbox',
      'dependencies': ['osb_init'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': [
        'NAPI_VERSION=8',
        'NAPI_DISABLE_CPP_EXCEPTIONS',
        'NODE_ADDON_API_DISABLE_DEPRECATED',
        'OSB_INIT_PATH="<(module_root_dir)/build/init/osb-init"',
      ],
      'sources': ['<!@(ls native/*.c native/engine/*.c native/addon/*.cc)'],
    },
  ],
}
