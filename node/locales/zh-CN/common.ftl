# 所有页面共用的文字。

product = 电子服务券
skip-to-content = 跳到正文
language = 语言
signed-in-as = 已登录：{ $name }
sign-out = 退出登录
back-to-start = 回到首页

start = 首页
start-hello = { $name }，您好
start-choose = 请选择要做的事。
start-about = 这里是本机构的服务券节点。工作人员请先登录。
reasons = 办不了的原因
reasons-about = 系统拒绝办理时的每一种原因，以及该怎么做。
interface = 程序接口说明
interface-about = 供信息科和软件商查阅。

sign-in = 登录
sign-in-about = 用本机构发给您的账号登录。
account-name = 账号
password-word = 密码
sign-in-provider = 用统一身份认证登录
sign-in-forgotten = 忘记密码时，请联系本机构管理账号的人，由其重设。

password = 修改密码
password-about = 换一个只有您自己知道的密码。
password-needed = 这个密码是别人给您设的，只能用一次。请先换成您自己的密码，再开始工作。
password-current = 现在的密码
password-new = 新密码
password-rule = 至少 12 个字符，不能与账号相同。几个容易记的词连在一起就很好。
password-save = 保存新密码
password-set = 密码已修改。您在其他设备上的登录已全部退出。

problem-sign-in = 请先登录
problem-forbidden = 您没有这项权限
problem-not-found = 没有找到
problem-too-often = 请稍等一下
problem-node = 系统现在办不了
problem-refused = 没有办成
problem-again = 请在 { $secs } 秒后再试。
problem-code = 原因代码：
